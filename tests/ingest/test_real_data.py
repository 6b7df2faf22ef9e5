"""The commands of docs/real-data.md, as they stand there, on the sets under HCS_DATA."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from hcs.ingest.provenance import read_sources
from hcs.plate.create import create_label_image
from hcs.plate.open import open_plate
from hcs.plate.read import read_frames
from hcs.plate.write import write_label_frames
from tests.documented import SETS, command, needs_data, run

pytestmark = needs_data


def full_truths(folder: Path) -> int:
    kinds = (folder.glob(f"*/masks/{kind}/*.tif") for kind in ("gold_full", "manual"))
    sequences = [path.name for path in folder.iterdir() if list(path.glob("images/t*.tif"))]
    return sum(path.parents[2].name in sequences for files in kinds for path in files)


@pytest.mark.parametrize("name", SETS)
def test_a_set_becomes_a_plate_and_its_labels_are_scored(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    imported = command("import", name)
    run([*imported, "--processes", "1"])
    folder, url = Path(imported[1]), imported[2]
    plate = open_plate(url)
    sources = read_sources(plate)
    assert plate.warnings == ()
    for well in plate.layout.wells:
        (field,) = plate.well(well).fields
        image, source = plate.field_image(field), sources[field]
        assert image.pixel_size_um is not None
        assert image.interval_s is not None
        frames = read_frames(plate, field, image.channels[0].label, range(image.n_frames))
        create_label_image(plate, field, "ssl_cells", {})
        for k, (time, frame) in enumerate(zip(source.times, frames, strict=True)):
            number = f"{time:0{source.time_digits}d}"
            file = folder / source.sequence / "images" / f"t{number}.tif"
            assert np.array_equal(frame, tifffile.imread(file))
            labels = (frame > frame.mean()).astype(np.uint32)
            write_label_frames(plate, field, "ssl_cells", k, labels[np.newaxis])
    capsys.readouterr()
    run([*command("evaluate", name), "--output", "scores.csv"])
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert sum(",full," in line for line in lines) == full_truths(folder)
    exported = command("export", name)
    run(exported)
    files = Path(exported[exported.index("--labels") + 1]).rglob("t*.tif")
    assert len(list(files)) == sum(len(source.times) for source in sources.values())
