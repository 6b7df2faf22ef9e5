"""``hcs run``, ``plan``, ``why`` and ``settings``: what they print and how they end."""

import json

import pytest

from hcs.cli.main import main
from hcs.errors import SettingsError
from hcs.settings import Settings, load_settings
from tests.plates import make_plate, moving_cells

HERE = ("--monitor", "none", "--dask", "none", "--workers", "1")


def call(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code)


def test_a_plate_that_is_done_ends_with_0_and_says_where_results_lie(analysed_plate, capsys):
    assert call("run", analysed_plate, *HERE) == 0
    printed = capsys.readouterr().out
    assert "3 kept" in printed
    assert f"{analysed_plate}/A/01/0/labels/ssl_cells" in printed


def test_a_plate_that_is_partly_done_ends_with_2_and_a_line_per_failed_well(tiny_plate, capsys):
    next((tiny_plate / "A/02/0").glob("*/0/0/0/0/0")).write_bytes(b"no chunk")
    assert call("run", tiny_plate, *HERE, "--json") == 2
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["done"] == ["A/01", "B/01"]
    assert [well["state"] for well in told["wells"]] == ["done", "failed", "done"]
    assert told["wells"][1]["failure"]["cause"] == "damaged data"
    assert "Traceback" not in captured.err
    assert call("run", tiny_plate, *HERE, "--well", "A/02") == 1
    assert "A/02 failed: field A/02/0" in capsys.readouterr().err


def test_wells_that_differ_in_frames_are_warned_of(tmp_path, capsys):
    make_plate(tmp_path / "two.zarr", {"A/01": moving_cells(0), "A/02": moving_cells(1, 3)})
    assert call("plan", tmp_path / "two.zarr") in (None, 0)
    assert "warning: " in capsys.readouterr().err
    assert call("plan", tmp_path / "two.zarr", "--json") in (None, 0)
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert "frames" in warning


def test_what_is_no_plate_ends_with_1_and_one_line(tmp_path, capsys):
    assert call("run", tmp_path, *HERE) == 1
    err = capsys.readouterr().err
    assert err.startswith("hcs: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "ssl.flow=dis"), "ssl.flow is no setting"),
        (("--method", "stardist"), "'stardist' is not known"),
        (("--frames", "3"), "No such option: --frames"),
        (("--set", "channel=[x"), "'channel=[x' is not YAML"),
        (("--memory", "lots"), "'lots' is no amount of memory"),
        (("--with-pixels",), "--with-pixels says what --output holds"),
    ],
)
def test_wrong_usage_ends_with_64(analysed_plate, capsys, arguments, words):
    assert call("run", analysed_plate, *HERE, *arguments) == 64
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--well", "Z/99"), 1, "has no well Z/99"),
        (("--channel", "DIC"), 1, "the plate has no channel 'DIC'"),
        (("--method", "stardist"), 64, "'stardist' is not known"),
        (("--weights", "no.safetensors"), 1, "cannot read "),
        (("--output", "new.zarr", "--channel", "DIC"), 1, "the plate has no channel 'DIC'"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_started_or_made(
    tiny_plate, capsys, monkeypatch, arguments, code, words
):
    monkeypatch.chdir(tiny_plate.parent)
    monkeypatch.setattr("hcs.cli.watched.prepare_prefect", pytest.fail)
    there = set(tiny_plate.parent.iterdir())
    assert call("run", tiny_plate, *arguments) == code
    (told, _) = capsys.readouterr().err.splitlines()
    assert words in told
    assert set(tiny_plate.parent.iterdir()) == there


def test_a_plate_that_is_not_there_starts_no_server(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("hcs.cli.watched.prepare_prefect", pytest.fail)
    assert call("run", tmp_path / "typo.zarr") == 1
    assert capsys.readouterr().err.startswith(f"hcs: there is nothing at {tmp_path}/typo.zarr\n")


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(tiny_plate, capsys, monkeypatch):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("hcs.run.analyse.make_plan", interrupted)
    assert call("run", tiny_plate, *HERE) == 130
    assert capsys.readouterr().err == "hcs: stopped; run the same command again to go on\n"


def test_flags_and_files_make_one_set_of_settings(analysed_plate, tmp_path, capsys):
    file = tmp_path / "settings.yaml"
    file.write_text("track: {max_step: 2}\n")
    arguments = ("--settings", file, "--well", "A/01", "--set", "split.h=0.3", "--json")
    assert call("plan", analysed_plate, *arguments) == 0
    steps = {step["step"]: step["why"] for step in json.loads(capsys.readouterr().out)["steps"]}
    h, max_step = Settings().split.h, Settings().track.max_step
    assert steps["ssl"] == f"split.h is 0.3, was {h}; track.max_step is 2.0, was {max_step}"


def test_a_plan_says_what_is_to_be_done_and_what_it_costs(tiny_plate, capsys):
    assert call("plan", tiny_plate) == 0
    printed = capsys.readouterr().out
    assert "ssl-statistics" in printed
    assert "3 of 3 wells to do" in printed
    assert "GB per worker" in printed


def test_a_plan_that_does_not_fit_is_refused(tiny_plate, capsys):
    assert call("plan", tiny_plate, "--memory", "100MB") == 1
    assert "may have 0.1 GB" in capsys.readouterr().err


def test_a_plan_of_wells_that_all_fail_ends_with_1(tmp_path, capsys):
    pytest.importorskip("torch")
    from tests.networks import write_weights

    url = tmp_path / "tiny.zarr"
    make_plate(url, {"A/01": moving_cells(0, 2), "A/02": moving_cells(1, 2)})
    weights = ("--weights", write_weights(tmp_path / "dna.safetensors", "stain"))
    refused = (*weights, "--set", "isl.pixel_size=refuse")
    assert call("plan", url, *refused) == 0
    capsys.readouterr()
    assert call("plan", url, *refused, "--pixel-size-um", "1.3") == 1
    printed = capsys.readouterr().out
    assert "the plate has 1.3" in printed
    assert "0 of 2 wells to do" in printed


def test_a_plan_with_a_well_that_can_be_done_ends_with_0(tmp_path, capsys):
    url = tmp_path / "tiny.zarr"
    make_plate(url, {"A/01": moving_cells(0, 2), "A/02": moving_cells(1, 2)})
    (url / "A" / "02" / "0" / ".zattrs").write_text("{}")
    assert call("plan", url) == 0
    printed = capsys.readouterr().out
    assert "1 of 2 wells to do" in printed
    assert "failed" in printed


def test_why_speaks_of_every_step_of_a_well(analysed_plate, capsys):
    assert call("why", analysed_plate, "B/01", "--set", "measure.channels=[phase]", "--json") == 0
    rows = {row["step"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["ssl"]["state"] == "done"
    assert rows["measure-ssl_cells"]["why"] == "measure.channels is ['phase'], was None"


def test_what_failed_is_no_step_that_nobody_tried(tiny_plate, capsys):
    next((tiny_plate / "A/02/0").glob("*/0/0/0/0/0")).write_bytes(b"no chunk")
    assert call("run", tiny_plate, *HERE, "--well", "A/02") == 1
    capsys.readouterr()
    for arguments in (("why", tiny_plate, "A/02"), ("plan", tiny_plate, "--well", "A/02")):
        assert call(*arguments) == 0
        (told,) = [line for line in capsys.readouterr().out.splitlines() if "last time" in line]
        assert "ssl-statistics" in told
        assert "not done yet; failed last time, damaged data: field A/02/0, channel" in told


def test_why_takes_the_calibration_of_the_run(analysed_plate, capsys):
    calibrated = ("--pixel-size-um", "0.5", "--interval-s", "60")
    assert call("why", analysed_plate, "A/01", *calibrated) in (None, 0)
    assert "pixel_size_um is 0.5" in capsys.readouterr().out
    assert call("run", analysed_plate, *HERE, *calibrated) == 0
    capsys.readouterr()
    assert call("why", analysed_plate, "A/01", *calibrated, "--json") in (None, 0)
    assert {row["why"] for row in json.loads(capsys.readouterr().out)} == {"done"}


def test_printed_settings_are_a_settings_file(tmp_path, capsys):
    assert call("settings", "--set", "ssl.em_rounds=2") == 0
    (tmp_path / "settings.yaml").write_text(capsys.readouterr().out)
    assert load_settings(tmp_path / "settings.yaml").ssl.em_rounds == 2
    assert call("settings", "--json") == 0
    assert json.loads(capsys.readouterr().out) == Settings().model_dump(mode="json")


def test_settings_of_a_plate_are_those_of_its_night(tmp_path, capsys):
    plate, given = tmp_path / "may" / "tiny.zarr", tmp_path / "settings.yaml"
    plate.parent.mkdir()
    given.write_text("channel: phase\nnight: {until: '07:00'}\n")
    (tmp_path / "hcs.yaml").write_text("ssl: {em_rounds: 3, min_area_px: 7}\n")
    beside = plate.with_name("tiny.hcs.yaml")
    beside.write_text("ssl: {min_area_px: 9}\nnight: {priority: 5}\n")

    def told(*flags: object) -> Settings:
        assert call("settings", plate, "--settings", given, *flags, "--json") == 0
        return Settings.model_validate_json(capsys.readouterr().out)

    own, under = told(), told("--folder", tmp_path)
    assert (own.channel, own.ssl.em_rounds, own.ssl.min_area_px) == ("phase", 1, 9)
    assert (under.channel, under.ssl.em_rounds, under.ssl.min_area_px) == ("phase", 3, 9)
    assert call("settings", plate, "--folder", tmp_path) == 0
    assert capsys.readouterr().err == f"changed by {tmp_path}/hcs.yaml\nchanged by {beside}\n"


def test_what_a_settings_file_says_of_nights_is_left_alone_by_day(tmp_path):
    (tmp_path / "hcs.yaml").write_text("methods: [ssl]\nnight: {until: '07:00'}\n")
    assert load_settings(tmp_path / "hcs.yaml") == Settings()
    with pytest.raises(SettingsError, match="night is no setting"):
        load_settings(overrides=["night.until=07:00"])


# networks


def test_weights_add_isl_to_the_methods_that_are_set(analysed_plate, weights, capsys):
    networks = ("--weights", weights["stain"], "--weights", weights["nuclei"])
    assert call("plan", analysed_plate, *networks, "--well", "A/01", "--json") in (None, 0)
    told = json.loads(capsys.readouterr().out)
    assert [row["step"] for row in told["steps"]] == [
        "isl-stain",
        "isl-nuclei",
        "measure-isl_nuclei",
    ]
    assert told["bytes_written"] > 4 * 128 * 128 * 4
    assert call("why", analysed_plate, "A/01", *networks, "--json") in (None, 0)
    rows = {row["step"]: row["state"] for row in json.loads(capsys.readouterr().out)}
    assert rows["ssl"] == "done"
    assert rows["isl-nuclei"] == "todo"


def test_networks_alone_ask_for_no_label_free_channel(tiny_plate, weights, capsys):
    networks = ("--method", "isl", "--weights", weights["nuclei"])
    assert call("plan", tiny_plate, *networks) in (None, 0)
    assert capsys.readouterr().out.splitlines()[0].endswith("tiny.zarr")


def test_a_run_with_networks_says_where_the_stains_lie(tiny_plate, weights, capsys):
    networks = ("--method", "isl", "--weights", weights["stain"], "--device", "cpu")
    assert call("run", tiny_plate, *HERE, *networks, "--well", "A/01") == 0
    assert str(tiny_plate.with_name("tiny_isl-stain.zarr")) in capsys.readouterr().out
    assert call("run", tiny_plate, *HERE, "--method", "isl") == 64
    assert "isl needs trained networks" in capsys.readouterr().err
    assert call("run", tiny_plate, *HERE, *networks, "--device", "tpu") == 64
