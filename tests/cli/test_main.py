import logging
import subprocess
import sys

import pytest
import typer

from hcs.cli.main import build_app, main


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["no-such-command"], 64, "No such command"),
        (["overlay", "plate.zarr"], 64, "Missing argument"),
        (["overlay", "x", "y", "-o", "z", "--no-such-option"], 64, "No such option"),
        (["overlay", "no-such.zarr", "A/01/0", "-o", "x.png"], 1, "no-such.zarr"),
        (["--help"], 0, ""),
    ],
)
def test_exit_code_and_words(arguments, code, words, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == code
    assert words in capsys.readouterr().err


def test_hcs_alone_prints_its_help_and_no_error(capsys):
    with pytest.raises(SystemExit) as end:
        main([])
    printed = capsys.readouterr()
    assert end.value.code == 64
    assert "Overnight analysis" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("annotate", "make", "p.zarr", "--stain", "a", "--kind", "cells", "--field", "A/1/0"),
        ("overlay", "p.zarr", "A/1/0"),
        ("evaluate", "p.zarr", "--truth", "t.zarr"),
        ("export", "p.zarr"),
        ("import", "files", "p.zarr"),
        ("train", "stain.yaml"),
    ],
)
def test_what_is_written_to_local_files_is_not_written_to_urls(
    arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    option = {"export": "--labels", "import": "--write-listing"}.get(arguments[0], "--output")
    with pytest.raises(SystemExit) as end:
        main([*arguments, option, "s3://bucket/name"])
    assert end.value.code == 64
    assert "cannot write to s3:/bucket/name\n     name a local" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["hcs.run.missing", "flows.progress"])
def test_what_is_warned_of_is_told_whoever_else_hears_it(name, capsys, monkeypatch):
    for group in ("hcs", "flows"):
        monkeypatch.setattr(logging.getLogger(group), "handlers", [])
    with pytest.raises(SystemExit):
        main(["--help"])
    # pytest hears it, as Prefect does
    logging.getLogger(name).warning("no workers\x1b[2J")
    assert capsys.readouterr().err == "no workers?[2J\n"


@pytest.mark.parametrize("command", ["run", "nightly", "plan", "train", "prune"])
def test_an_option_that_may_be_repeated_says_so(command):
    options = typer.main.get_command(build_app()).commands[command].params
    repeated = [option for option in options if getattr(option, "multiple", False)]
    assert repeated
    assert all("again for more" in option.help for option in repeated)


def test_the_command_line_loads_nothing_heavy():
    heavy = ("torch", "prefect", "dask", "zarr", "pandas", "skimage", "sklearn", "cv2")
    script = "import sys, hcs.cli.main as m; m.build_app(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert not set(heavy) & set(loaded.stdout.decode().split())
