from pathlib import Path

import pytest

from hcs.errors import ImportFilesError, SettingsError
from hcs.ingest.pattern import Pattern
from hcs.ingest.source import assign_wells


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_well_pattern_reads_every_key(tmp_path):
    touch(tmp_path, "plate/B3_s02_w1_z05_t007.tif")
    found = Pattern("plate/{well}_s{field}_w{channel}_z{z}_t{time}.tif").find(tmp_path)
    (file,) = found.files
    assert (str(file.well), file.field, file.channel) == ("B/03", "2", "1")
    assert (file.z, file.time, file.time_digits, file.sequence) == (5, 7, 3, "")


def test_rows_by_number_are_letters(tmp_path):
    name = "Images/r03c04f01p01-ch1sk2fk1fl1.tiff"
    touch(tmp_path, name)
    pattern = Pattern("Images/r{row}c{column}f{field}p{z}-ch{channel}sk{time}fk1fl1.tiff")
    (file,) = pattern.find(tmp_path).files
    assert (str(file.well), file.field, file.channel, file.z, file.time) == ("C/04", "1", "1", 1, 2)


def test_each_sequence_becomes_a_well_in_natural_order(tmp_path):
    touch(tmp_path, *(f"{name}/images/t001.tif" for name in ("s10", "s2", "s1")))
    files = assign_wells(Pattern("{sequence}/images/t{time}.tif").find(tmp_path).files)
    assert {file.sequence: str(file.well) for file in files} == {
        "s1": "A/01",
        "s2": "A/02",
        "s10": "A/03",
    }


def test_the_thirteenth_sequence_opens_the_second_row(tmp_path):
    touch(tmp_path, *(f"{i}/t1.tif" for i in range(13)))
    files = assign_wells(Pattern("{sequence}/t{time}.tif").find(tmp_path).files)
    assert [str(file.well) for file in files if file.sequence == "12"] == ["B/01"]


def test_without_well_and_sequence_the_folder_is_one_sequence(tmp_path):
    touch(tmp_path, "t001.tif", "t002.tif")
    files = Pattern("t{time}.tif").find(tmp_path).files
    assert {file.sequence for file in files} == {tmp_path.name}


def test_a_glob_narrows_a_key_and_the_rest_is_reported(tmp_path):
    touch(tmp_path, "01_a/t1.tif", "02/t1.tif", "01_a/notes.txt")
    found = Pattern("{sequence:01*|03*}/t{time}.tif").find(tmp_path)
    assert [file.sequence for file in found.files] == ["01_a"]
    assert [path.name for path in found.unmatched] == ["notes.txt"]


def test_a_key_that_stands_twice_has_one_text():
    pattern = Pattern("{well}/{well}_t{time}.tif")
    assert pattern.match("B03/B03_t1.tif") is not None
    assert pattern.match("B03/B04_t1.tif") is None


def test_dots_and_brackets_are_themselves():
    pattern = Pattern("t{time}(a).tif")
    assert pattern.match("t1(a).tif") == {"time": "1"}
    assert pattern.match("t1(a)xtif") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{position}.tif", r"\{position\} is no key; there are well, row"),
        ("{row}_{time}.tif", r"\{row\} and \{column\} go together"),
        ("{well}/{sequence}.tif", "one of them"),
        ("{sequence}/{row}{column}.tif", "stands beside"),
        ("../{time}.tif", "leaves the folder"),
        ("/data/{time}.tif", "leaves the folder"),
        ("{sequence}/", "names no file"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused(text, words):
    with pytest.raises(SettingsError, match=words):
        Pattern(text)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match="nowhere: no such folder"):
        Pattern("t{time}.tif").find(tmp_path / "nowhere")


def test_where_nothing_fits_the_files_that_are_there_are_named(tmp_path):
    touch(tmp_path, "plate/B03_t1.TIF")
    with pytest.raises(ImportFilesError, match=r"fits 'plate/.*there are plate/B03_t1\.TIF"):
        Pattern("plate/{well}_t{time}.tif").find(tmp_path)
    with pytest.raises(ImportFilesError, match=r"there are plate"):
        Pattern("plates/{well}_t{time}.tif").find(tmp_path)


def test_files_beside_with_digits_of_other_scripts_are_left_out(tmp_path):
    for name in ("t1.tif", "t\N{ARABIC-INDIC DIGIT THREE}.tif", "\N{SUPERSCRIPT TWO}"):
        (tmp_path / name).touch()
    found = Pattern("t{time}.tif").find(tmp_path)
    assert [file.time for file in found.files] == [1]
    assert len(found.unmatched) == 2


def test_a_glob_that_lets_pass_what_is_no_number_is_told_of(tmp_path):
    (tmp_path / "first.tif").touch()
    with pytest.raises(ImportFilesError, match=r"first\.tif: time 'first' is no number .*time:"):
        Pattern("{time:f*}.tif").find(tmp_path)
