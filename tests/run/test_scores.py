import json

import pandas as pd
import pytest

from hcs.errors import SettingsError
from hcs.run.evaluate import evaluate_plate
from hcs.run.scores import write_evaluation
from hcs.run.truth import open_truth


@pytest.fixture
def plate(sequence_plate, put, draw):
    put(sequence_plate, "A/01/0", [draw((5, 4, 4, 8))] * 3)
    return sequence_plate


@pytest.fixture
def evaluate(plate):
    def run(where, **options):
        truth = open_truth(str(where), plate, "ssl_cells")
        return evaluate_plate(plate, truth, "ssl_cells", **options)

    return run


@pytest.fixture
def scores(evaluate, write_mask, draw, tmp_path):
    write_mask("s1/masks/gold_full/man_seg020.tif", draw((1, 4, 4, 8)))
    return evaluate(tmp_path / "set")


def test_scores_are_kept_beside_the_plate(plate, scores):
    write_evaluation(plate, scores, None)
    kept = json.loads(plate.companion.read("evaluation/ssl_cells-set-crop0.json"))
    assert kept["plate"][0]["f1"] == 1
    assert kept == json.loads(json.dumps(scores.to_json()))


def test_another_truth_or_rim_takes_no_place_of_the_first(plate, scores, evaluate, tmp_path):
    others = [evaluate(tmp_path / "set", crop_px=2), evaluate(tmp_path / "set/s1/masks/gold_full")]
    for one in (scores, *others):
        write_evaluation(plate, one, None)
    kept = {key for key in plate.companion.sizes("evaluation") if key.endswith(".csv")}
    assert kept == {
        "evaluation/ssl_cells-set-crop0.csv",
        "evaluation/ssl_cells-set-crop2.csv",
        "evaluation/ssl_cells-s1-masks-gold_full-crop0.csv",
    }


@pytest.mark.parametrize(("name", "read"), [("s.csv", pd.read_csv), ("s.parquet", pd.read_parquet)])
def test_the_table_of_frames_is_written_where_it_is_asked_for(plate, scores, tmp_path, name, read):
    assert write_evaluation(plate, scores, tmp_path / name) == str(tmp_path / name)
    assert read(tmp_path / name)["f1"].tolist() == [1]


def test_other_files_are_refused(plate, scores, tmp_path):
    with pytest.raises(SettingsError, match=r"s\.xlsx: cannot write that"):
        write_evaluation(plate, scores, tmp_path / "s.xlsx")
