"""Names that people and disks give: shown as they are, obeyed by nothing."""

import io
import json
from dataclasses import asdict
from email import message_from_string, policy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from flows.notify import Apprise, Messenger
from hcs.cli.main import main
from hcs.errors import CorruptError, HcsError, ImportFilesError, PlateError
from hcs.ingest.listing import read_listing, write_listing
from hcs.ingest.ome_tiff import read_tiff_facts
from hcs.ingest.pattern import Pattern
from hcs.ingest.plan import plan_import
from hcs.ingest.plate_map import read_plate_map
from hcs.ingest.provenance import read_sources
from hcs.isl.card import ModelCard
from hcs.plate.lock import Claim
from hcs.plate.open import open_plate
from hcs.plate.path import FieldPath, WellPath
from hcs.plate.storage import Storage
from hcs.plate.table import write_table
from hcs.report.heatmap import draw_heat_map
from hcs.report.training import CurveRow, draw_curves, training_page
from hcs.run.export import export_labels
from hcs.run.scores import to_csv
from tests.plates import make_plate, moving_cells

# a terminal is cleared, its title set, text turned round, a line overwritten
CONTROL = "a\x1b[2J\x1b]0;b\x07c\u202ed\re\x9b3m"
SCRIPT = "<script>alert(1)</script>"
MATHS = r"$\frac{$"


def is_harmless(text: str) -> bool:
    return all(letter.isprintable() or letter == "\n" for letter in text)


def named(url: Path, channel: str, field: str = "A/1/0") -> None:
    path = url / field / ".zattrs"
    document = json.loads(path.read_text())
    document["omero"]["channels"][0]["label"] = channel
    path.write_text(json.dumps(document))


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    make_plate(tmp_path / "p.zarr", {"A/1": moving_cells(0), "A/2": moving_cells(1)})
    return tmp_path / "p.zarr"


@pytest.mark.parametrize("error", [HcsError, PlateError])
def test_errors_hold_nothing_that_a_terminal_obeys(error):
    told = error(f"channel {CONTROL}", hint=f"name {CONTROL}")
    assert is_harmless(str(told))
    assert str(told) == "channel a?[2J?]0;b?c?d?e?3m (name a?[2J?]0;b?c?d?e?3m)"


@pytest.mark.parametrize(
    "command",
    [
        ["plan", "{}"],
        ["plan", "{}", "--channel", "none"],
        ["run", "{}", "--monitor", "none", "--dask", "none", "--channel", "none"],
        ["status", "{}"],
        ["why", "{}", "A/1"],
        ["verify", "{}"],
    ],
)
def test_no_command_prints_what_a_terminal_obeys(plate, capsys, command):
    for field in ("A/1/0", "A/2/0"):
        named(plate, CONTROL, field)
    document = json.loads((plate / "A/2/.zattrs").read_text())
    document["well"]["images"].append({"path": CONTROL})
    (plate / "A/2/.zattrs").write_text(json.dumps(document))
    quarantine = pd.DataFrame(
        [{"well": "A1", "cause": CONTROL, "message": CONTROL, "hint": CONTROL}]
    )
    write_table(open_plate(plate), None, "quarantine", quarantine, "generic_table")
    with pytest.raises(SystemExit):
        main([part.format(plate) for part in command])
    told = capsys.readouterr()
    assert told.out + told.err
    assert is_harmless(told.out + told.err)


def test_status_prints_nothing_that_a_terminal_obeys_of_what_lies_beside_the_plate(plate, capsys):
    for folder in ("A/1", "lock", "runs/00000001/failed/A"):
        (plate.with_suffix(".hcs") / folder).mkdir(parents=True)
    beside = {
        f"A/1/{CONTROL}": {},
        "lock/00000001": asdict(Claim(CONTROL, CONTROL, CONTROL, "", 5.0)),
        "runs/00000001/run": {"begun": CONTROL, "steps": [CONTROL, "ssl"], "wells": ["A/1"]},
        "runs/00000001/failed/A/1": {"cause": CONTROL, "message": CONTROL, "hint": CONTROL},
        "runs/00000001/report": {
            "at": CONTROL, "seconds": 1, "exit_code": 2, "done": 1, "failed": 1, "failure": CONTROL,
        },
    }  # fmt: skip
    for name, content in beside.items():
        (plate.with_suffix(".hcs") / f"{name}.json").write_text(json.dumps(content))
    quarantine = pd.DataFrame([{"well": "A1", CONTROL: CONTROL}])
    write_table(open_plate(plate), None, "quarantine", quarantine, "generic_table")
    with pytest.raises(SystemExit):
        main(["status", str(plate)])
    told = capsys.readouterr().out
    assert is_harmless(told)
    # steps, their heading; holder, host, since; begun, failure; message, hint; quarantine's column
    assert told.count("a?[2J?]0;b?c?d?e?3m") == 11


def test_text_of_csv_files_is_no_formula():
    names = ["=1+1", "+1", "-1", "@sum(a1)", "\tx", "\rx", "fine"]
    table = pd.DataFrame({"=name": names, "f1": np.linspace(-1, 1, len(names))})
    text = to_csv(table)
    assert text.splitlines()[0] == "'=name,f1"
    back = pd.read_csv(io.StringIO(text), keep_default_na=False)
    assert back["'=name"].tolist() == ["'=1+1", "'+1", "'-1", "'@sum(a1)", "' x", "' x", "fine"]
    assert back["f1"].tolist() == pytest.approx(table["f1"].tolist())


def test_a_listing_of_names_like_formulas_is_read_back(tmp_path):
    folder = tmp_path / "in/=cmd"
    folder.mkdir(parents=True)
    for time in range(2):
        tifffile.imwrite(folder / f"t{time}.tif", np.zeros((8, 8), np.uint8))
    plan = plan_import(Pattern("{sequence}/t{time}.tif").find(tmp_path / "in").files)
    write_listing(tmp_path / "out.csv", plan.fields)
    assert (tmp_path / "out.csv").read_text().splitlines()[1].endswith(",'=cmd")
    files = read_listing(tmp_path / "out.csv", tmp_path)
    assert {file.sequence for file in files} == {"=cmd"}


def test_pages_show_names_as_they_are():
    page = training_page(SCRIPT, SCRIPT, {SCRIPT: SCRIPT}, [SCRIPT + '"'], None)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 7


@pytest.mark.parametrize("name", [MATHS, "$x_{$", SCRIPT, "\ud83d\ude00"])
def test_pictures_take_any_name(name):
    name = name.encode("utf-16", "surrogatepass").decode("utf-16")
    assert draw_heat_map({("A", "1"): 1.0}, ["A"], ["1"], name)[1:4] == b"PNG"
    rows = [CurveRow(1, 1.0, {"loss": 1.0, name: 0.5}), CurveRow(2, 0.5, {"loss": 0.9, name: 0.7})]
    assert draw_curves(rows, 1, name)[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequence", "../../elsewhere"),
        ("sequence", "/etc"),
        ("sequence", ".."),
        ("sequence", "a\0b"),
        ("time_digits", 10**9),
        ("times", [-1]),
        ("times", "1"),
    ],
)
def test_label_images_are_exported_into_the_folder_alone(analysed_plate, tmp_path, field, value):
    source = {"sequence": "s", "times": [0, 1, 2, 3], "time_digits": 3}
    record = {"fingerprint": "", "channels": [], "fields": {"A/01/0": source | {field: value}}}
    Storage.open(analysed_plate).sibling(".hcs").write("import.json", json.dumps(record).encode())
    before = set(tmp_path.rglob("*"))
    plate = open_plate(analysed_plate)
    with pytest.raises(CorruptError, match=r"holds what no import wrote .import"):
        export_labels(plate, tmp_path / "out", "ssl_cells", print)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", ["[]", "[" * 100_000])
def test_a_record_of_an_import_that_is_none_is_told(plate, content):
    Storage.open(plate).sibling(".hcs").write("import.json", content.encode())
    with pytest.raises(CorruptError, match=r"import.json is damaged"):
        read_sources(open_plate(plate))


@pytest.mark.parametrize("name", ["../x", "a/b", "A", "", "x" * 100, "a\n", "=a", "<b>"])
def test_names_of_networks_are_names_of_folders(name):
    with pytest.raises(ValueError, match="name"):
        ModelCard.model_validate({"name": name})


@pytest.mark.parametrize("name", ["../x", "B/03/..", "=B03", "B\x1b03", "B 3", ""])
def test_wells_of_plate_maps_are_wells(tmp_path, plate, name):
    (tmp_path / "map.csv").write_text(f'well,drug\n"{name}",=1+1\n')
    with pytest.raises(ImportFilesError, match=r"line 2: well .* is none") as caught:
        read_plate_map(tmp_path / "map.csv", [FieldPath(WellPath("A", "1"), "0")])
    assert is_harmless(str(caught.value))


LAUGHS = '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a "ha">'
for old, new in zip("abcdefgh", "bcdefghi", strict=True):
    LAUGHS += f'<!ENTITY {new} "{10 * f"&{old};"}">'
LAUGHS += "]>"
READS = '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY i SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize("prologue", [LAUGHS, READS])
def test_entities_of_ome_xml_are_not_read(tmp_path, prologue):
    xml = (
        f'{prologue}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="0">'
        '<Pixels DimensionOrder="XYCZT" ID="0" SizeC="1" SizeT="1" SizeX="8" SizeY="8" SizeZ="1" '
        'Type="uint8"><Channel ID="0" Name="&i;"/><TiffData/></Pixels></Image></OME>'
    )
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), description=xml, metadata=None)
    with pytest.raises(ImportFilesError, match="its OME-XML defines entities"):
        read_tiff_facts(path)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_a_subject_is_one_line(mail_sink):
    port, mails = mail_sink
    messenger = Messenger([])
    messenger._blocks["apprise/x"] = Apprise(
        url=f"mailto://127.0.0.1:{port}/?from=a@b.org&to=a@b.org"
    )
    messenger.send("hcs, plates\r\nBcc: all@example.org\n\nhello", f"a\n{CONTROL}")
    assert messenger.warnings == []
    (mail,) = (message_from_string(text, policy=policy.default) for text in mails)
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("hcs, plates")
    assert "\x1b" not in mails[0]
