import json
import math
import shutil

import numpy as np
import pytest

from hcs.errors import FramesError, MissingError, PlateError, SettingsError
from hcs.image.similarity import pearson, rmse, ssim
from hcs.plate.create import ImageSpec, create_field_image, create_plate
from hcs.plate.metadata import Channel, PlateLayout
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.sister import create_product, make_sister, write_empty_product
from hcs.plate.write import write_frames, write_product_frames
from hcs.run.evaluate_stains import Part, count_correlation, evaluate_stains
from hcs.run.scores import write_evaluation

WELLS = ("A/01", "A/02", "B/01")
N_FRAMES, SIDE = 2, 80
WINDOW = (0.0, 4000.0, 100.0, 2100.0)
CHANNELS = (Channel("DAPI_prediction", window=WINDOW), Channel("CellMask_prediction"))


def field(well):
    return FieldPath(WellPath.parse(well), "0")


def stained(n, level, radius=7):
    """Return an image with n discs on a noisy ground."""
    y, x = np.indices((SIDE, SIDE))
    centres = [(cy, cx) for cy in (16, 40, 64) for cx in (16, 40, 64)][:n]
    inside = np.any([np.hypot(y - cy, x - cx) < radius for cy, cx in centres], axis=0)
    return 100 + level * inside + np.random.default_rng(n).normal(0, 5, inside.shape)


def measured(well):
    """Return phase, DAPI and CellMask, (t, c, z, y, x): more nuclei in every well and frame."""
    frames = [
        [
            stained(9, 50),
            stained(3 * WELLS.index(well) + 1 + t, 2000),
            stained(2, 900, 11),
        ]
        for t in range(N_FRAMES)
    ]
    return np.rint(np.array(frames)[:, :, None]).astype(np.uint16)


def write_plate(url, wells=WELLS, pixels=measured, channels=("phase", "DAPI", "CellMask")):
    paths = tuple(map(WellPath.parse, wells))
    plate = create_plate(url, PlateLayout("screen", "0.4", ("A", "B"), ("01", "02"), paths))
    for well in wells:
        frames = pixels(well)[:, : len(channels)]
        spec = ImageSpec(
            ("t", "c", "z", "y", "x"), frames.shape, "uint16", tuple(map(Channel, channels))
        )
        create_field_image(plate, field(well), spec)
        write_frames(plate, field(well), 0, frames)
    return plate


def predicted(well):
    """Return what a network would give: the stain with a gain, an offset and noise."""
    noise = np.random.default_rng(7).normal(0, 40, (N_FRAMES, 2, 1, SIDE, SIDE))
    return (0.9 * measured(well)[:, 1:] + 50 + noise).astype(np.float32)


def predict(plate, model="both", wells=WELLS, pixels=predicted):
    sister = make_sister(plate, f"isl-{model}")
    for well in wells:
        create_product(plate, sister, field(well), CHANNELS, {})
        write_product_frames(sister, field(well), 0, pixels(well))
    return sister


@pytest.fixture(scope="module")
def _screen(tmp_path_factory):
    url = tmp_path_factory.mktemp("screen") / "screen.zarr"
    predict(write_plate(url))
    return url.parent


@pytest.fixture
def plate(_screen, tmp_path):
    shutil.copytree(_screen, tmp_path / "copy")
    return open_plate(tmp_path / "copy/screen.zarr")


def test_scores_of_a_frame_are_those_of_its_two_images(plate):
    scores = evaluate_stains(plate, "both")
    assert len(scores.frames) == 2 * N_FRAMES * len(WELLS)
    row = scores.frames.query("well == 'A02' and frame == 1 and stain == 'DAPI'").iloc[0]
    image, truth = predicted("A/02")[1, 0, 0], measured("A/02")[1, 1, 0]
    assert row["pcc"] == pytest.approx(pearson(image, truth))
    assert row["ssim"] == pytest.approx(ssim(image, truth))
    assert row["rmse"] == pytest.approx(rmse(image, truth))
    assert (row["source_number"], row["n_truth"], row["n_objects"]) == (1, 5, 5)


def test_wells_and_plate_are_means_and_nuclei_are_counted_in_nuclear_stains_alone(plate):
    scores = evaluate_stains(plate, "isl-both")
    assert scores.model == "both"
    assert scores.wells["n_frames"].tolist() == [N_FRAMES] * 2 * len(WELLS)
    own = scores.frames.query("stain == 'CellMask'")
    (row,) = scores.plate.query("stain == 'CellMask'").to_dict("records")
    assert row["pcc"] == pytest.approx(own["pcc"].mean())
    assert math.isnan(row["n_truth"])
    assert math.isnan(row["count_correlation"])
    (row,) = scores.plate.query("stain == 'DAPI'").to_dict("records")
    assert row["count_correlation"] == pytest.approx(1)
    assert row["n_truth"] == row["n_objects"] == 4.5


def test_what_the_network_saw_and_other_frames_can_be_left_out(plate):
    part = Part(crop_px=4, frames=(1,), without=(WellPath("A", "02"),))
    scores = evaluate_stains(plate, "both", part=part)
    assert set(scores.frames["well"]) == {"A01", "B01"}
    assert set(scores.frames["frame"]) == {1}
    assert scores.key == "evaluation/isl-both-screen-crop4-without-A02"
    with pytest.raises(MissingError, match="plate screen has no well H/09"):
        evaluate_stains(plate, "both", part=Part(without=(WellPath("H", "09"),)))
    with pytest.raises(SettingsError, match=r"--crop 40 leaves nothing of \(80, 80\)"):
        evaluate_stains(plate, "both", part=Part(crop_px=40))


def test_the_measured_stain_may_be_in_another_plate(plate, tmp_path):
    phase = write_plate(tmp_path / "free.zarr", channels=("phase",))
    predict(phase)
    with pytest.raises(MissingError, match="field A/01/0 has no channel 'DAPI'"):
        evaluate_stains(phase, "both")
    scores = evaluate_stains(phase, "both", truth=plate)
    assert scores.truth == "screen"
    assert scores.plate["pcc"].tolist() == pytest.approx(
        evaluate_stains(plate, "both").plate["pcc"].tolist()
    )


def test_wells_that_the_truth_lacks_have_no_rows(plate, tmp_path):
    truth = write_plate(tmp_path / "some.zarr", wells=("A/02",))
    assert set(evaluate_stains(plate, "both", truth=truth).frames["well"]) == {"A02"}


def test_a_truth_of_other_frames_is_told_with_numbers(plate, tmp_path):
    truth = write_plate(tmp_path / "t.zarr", pixels=lambda well: measured(well)[:1, :, :, :70])
    words = r"measured in frames \(1, 70, 80\), predicted in \(2, 80, 80\)"
    with pytest.raises(FramesError, match=words):
        evaluate_stains(plate, "both", truth=truth)


def test_a_well_without_stain_is_no_truth(tmp_path):
    def unstained(well):
        frames = measured(well)
        if well != "B/01":
            frames[:, 1:] = 0
        return frames

    plate = write_plate(tmp_path / "few.zarr", pixels=unstained)
    predict(plate)
    assert set(evaluate_stains(plate, "both").frames["well"]) == {"B01"}
    empty = write_plate(tmp_path / "none.zarr", pixels=lambda well: 0 * measured(well))
    predict(empty)
    with pytest.raises(MissingError, match="no frame of none has a measured stain"):
        evaluate_stains(empty, "both")


def test_a_frame_for_which_nothing_was_predicted_has_no_scores(plate):
    def blank(well):
        frames = predicted(well)
        frames[1] = 0
        return frames

    predict(plate, "blank", pixels=blank)
    scores = evaluate_stains(plate, "blank")
    lost = scores.frames["frame"] == 1
    assert scores.frames.loc[lost, ["pcc", "ssim", "rmse", "n_objects"]].isna().all(axis=None)
    assert scores.frames.loc[~lost, ["pcc", "ssim", "rmse"]].notna().all(axis=None)
    assert scores.plate["count_correlation"].notna().any()


def test_a_ripple_where_the_stain_shows_nothing_is_no_nucleus(plate):
    def ripple(well):
        frames = predicted(well)
        y, x = np.indices((SIDE, SIDE))
        frames[0, 0, 0] = 100 + 30 * (np.hypot(y - 40, x - 40) < 7)
        return frames

    predict(plate, "ripple", pixels=ripple)
    counts = evaluate_stains(plate, "ripple").frames.query("stain == 'DAPI'")
    assert set(counts.loc[counts["frame"] == 0, "n_objects"]) == {0}


def test_failed_and_missing_predictions_cost_their_wells_alone(plate):
    sister = predict(plate, "some", wells=("A/01",))
    write_empty_product(plate, sister, field("A/02"), CHANNELS, "failed")
    scores = evaluate_stains(plate, "some")
    assert set(scores.frames["well"]) == {"A01"}
    assert scores.failed == ("A/02/0",)
    assert [str(one) for one in scores.left_out] == [
        "B/01 is left out: field B/01/0 has no predicted stains (predict them first: hcs run)"
    ]


def test_a_network_that_predicted_nothing_is_named(plate):
    with pytest.raises(PlateError, match="screen_isl-other"):
        evaluate_stains(plate, "other")


def test_counts_that_never_vary_correlate_with_nothing(plate):
    frames = evaluate_stains(plate, "both").frames.query("well == 'A01' and frame == 0")
    assert math.isnan(count_correlation(frames))


def test_scores_are_kept_beside_the_plate(plate):
    scores = evaluate_stains(plate, "both")
    assert write_evaluation(plate, scores, None).endswith("isl-both-screen-crop0.csv")
    kept = json.loads(plate.companion.read("evaluation/isl-both-screen-crop0.json"))
    assert kept == json.loads(json.dumps(scores.to_json()))
    assert kept["plate"][0]["stain"] == "CellMask"
    assert kept["plate"][0]["count_correlation"] is None
