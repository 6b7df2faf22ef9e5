import numpy as np
import pytest

from hcs.errors import ImportFilesError
from hcs.ingest.ome_tiff import Calibration
from hcs.ingest.pattern import Pattern
from hcs.ingest.plan import label_channels, plan_import
from hcs.ingest.source import SourceFile


@pytest.fixture
def plan(tmp_path):
    def make(pattern, **options):
        return plan_import(Pattern(pattern).find(tmp_path / "source").files, **options)

    return make


def test_frames_keep_their_source_numbers(write_tiff, plan):
    for time in (20, 21, 22):
        write_tiff(f"01/t{time:03d}.tif")
    made = plan("{sequence}/t{time}.tif")
    (field,) = made.fields
    assert (str(field.path), field.sequence) == ("A/01/0", "01")
    assert (field.times, field.time_digits) == ((20, 21, 22), 3)
    assert made.problems == ()
    assert (field.frame_shape, field.dtype) == ((40, 56), "uint16")


def test_planes_stand_by_frame_then_channel_then_z(write_tiff, plan):
    for name in ("w2_z1_t1", "w1_z1_t1", "w1_z1_t0", "w2_z1_t0"):
        write_tiff(f"A1_{name}.tif")
    (field,) = plan("{well}_{channel}_z{z}_t{time}.tif").fields
    assert [(i.time, i.channel) for i in field.images] == [
        (0, "w1"),
        (0, "w2"),
        (1, "w1"),
        (1, "w2"),
    ]


def test_times_by_twos_are_no_gap(write_tiff, plan):
    for time in (4, 6, 8):
        write_tiff(f"01/t{time}.tif")
    assert plan("{sequence}/t{time}.tif").problems == ()


def test_all_problems_are_told_at_once_naming_files(write_tiff, plan):
    write_tiff("B2_w1_t0.tif")
    write_tiff("B02_w1_t0.tif")
    write_tiff("B2_w1_t1.tif")
    write_tiff("B2_w1_t4.tif")
    write_tiff("B2_w2_t1.tif", np.zeros((8, 9), np.uint8))
    made = plan("{well}_{channel}_t{time}.tif")
    with pytest.raises(ImportFilesError) as error:
        made.check()
    words = str(error.value)
    assert words.startswith("5 problems")
    assert "B/02/0: 1 planes are there more than once" in words
    assert "B02_w1_t0.tif = " in words
    assert "B/02/0: no file of frames 2, 3: between" in words
    assert "B/02/0: no channel 'w2' plane 0 at frames 0 (beside" in words
    assert "more than one shape: 40 x 56 in 4 planes of B/02/0" in words
    assert "8 x 9 in 1 planes of B/02/0 (first" in words
    assert "more than one pixel type: uint16 in 4 planes" in words


def test_gaps_can_be_closed(write_tiff, plan):
    for time in (1, 2, 5):
        write_tiff(f"01/t{time}.tif")
    made = plan("{sequence}/t{time}.tif", gap_rule="close")
    assert made.problems == ()
    assert any("no file of frames 3, 4" in warning for warning in made.warnings)
    assert made.fields[0].times == (1, 2, 5)


def test_a_channel_that_a_field_lacks_is_named(write_tiff, plan):
    for name in ("A1_w1", "A1_w2", "A2_w1"):
        write_tiff(f"{name}.tif")
    assert "A/02/0: no channel 'w2' plane 0 at all" in plan("{well}_{channel}.tif").problems


def test_wells_may_differ_in_frames_with_a_warning(write_tiff, plan):
    for name in ("1/t0", "1/t1", "2/t0"):
        write_tiff(f"{name}.tif")
    made = plan("{sequence}/t{time}.tif")
    assert made.problems == ()
    assert "the number of frames differs: 2 in A/01/0; 1 in A/02/0" in made.warnings


def test_sizes_are_never_guessed(write_tiff, plan):
    write_tiff("1/t0.tif")
    write_tiff("1/t1.tif")
    made = plan("{sequence}/t{time}.tif")
    assert made.calibration == Calibration()
    assert [warning[:16] for warning in made.warnings] == ["no pixel_size_um", "no interval_s in"]


def test_options_complete_and_outweigh_the_metadata(write_tiff, plan):
    options = {"imagej": True, "resolution": (2.0, 2.0), "metadata": {"unit": "um"}}
    write_tiff("1/t0.tif", np.zeros((8, 8), np.uint8), **options)
    assert plan("{sequence}/t{time}.tif").calibration.pixel_size_um == 0.5
    made = plan("{sequence}/t{time}.tif", calibration=Calibration(pixel_size_um=0.65))
    assert made.calibration.pixel_size_um == 0.65
    assert made.warnings == ("the files say pixel_size_um 0.5; --pixel-size-um 0.65 is used",)


def test_files_that_disagree_on_a_size_are_a_problem(write_tiff, plan):
    for name, per_um in (("t0", 2.0), ("t1", 1.0)):
        options = {"imagej": True, "resolution": (per_um, per_um), "metadata": {"unit": "um"}}
        write_tiff(f"1/{name}.tif", np.zeros((8, 8), np.uint8), **options)
    (problem,) = plan("{sequence}/t{time}.tif").problems
    assert problem.startswith("more than one pixel_size_um: 0.5 in 1 files (first ")
    given = Calibration(pixel_size_um=0.5)
    assert plan("{sequence}/t{time}.tif", calibration=given).problems == ()


def test_unreadable_files_and_stacks_without_axes_are_problems(write_tiff, plan, tmp_path):
    write_tiff("A1.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    (tmp_path / "source" / "A2.tif").write_bytes(b"no tiff")
    problems = plan("{well}.tif").problems
    assert "A2.tif: not a TIFF file" in problems[0]
    assert "A1.tif: it has 3 pages" in problems[1]


def test_a_broken_file_hides_no_other_problem(write_tiff, plan, tmp_path):
    for time in (0, 1, 3):
        write_tiff(f"1/t{time}.tif")
    whole = write_tiff("1/t4.tif").read_bytes()
    (tmp_path / "source/1/t4.tif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "source/1/t2.tif").write_bytes(b"II*\0" + b"garbage" * 9)
    broken, cut, gap = plan("{sequence}/t{time}.tif").problems
    assert "t2.tif: it holds no page" in broken
    assert "t4.tif: it ends too early" in cut
    assert "no file of frames 2" in gap


def test_a_listed_file_that_is_not_there_is_a_problem(tmp_path):
    files = [SourceFile(tmp_path / "gone.tif", sequence="1")]
    assert plan_import(files).problems == (f"{tmp_path / 'gone.tif'}: no such file",)


def test_nothing_found_is_said():
    with pytest.raises(ImportFilesError, match="no file to import"):
        plan_import([])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["a", "b"], "2 channel labels are given for the 3 channels found; found: 'x', 'y', 'z'"),
        (["w=a"], "no channel 'w' was found"),
        (["x=y"], "two channels have one label"),
    ],
)
def test_channel_labels_are_checked(given, words):
    _, problems = label_channels(["x", "y", "z"], given)
    assert words in "; ".join(problems)


def test_shapes_may_differ_in_source_order_only_by_field(write_tiff, plan):
    write_tiff("01/t0.tif")
    write_tiff("02/t0.tif", np.zeros((8, 8), np.uint16))
    (problem,) = plan("{sequence}/t{time}.tif").problems
    assert "40 x 56 in 1 planes of A/01/0" in problem
    assert "Import each as a plate of its own" in problem
