"""README.md and the pages of docs/ and deploy/: links lead somewhere, hcs takes the commands."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from hcs.cli.main import build_app
from hcs.errors import HcsError
from hcs.run.night_settings import check_night
from hcs.run.training import load_training
from hcs.settings import check_settings, read_values
from hcs.simulate.settings import settings_for

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "SECURITY.md", "deploy/README.md"]
PAGES += sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
# whatever starts it: a path, docker compose exec, kubectl exec; but not kubectl's namespace
SHOWN = re.compile(r"(?:^|(?<!-n)[ /])hcs (?=[a-z])(.*)")
NAMED = re.compile(r"`hcs\s+(?=[a-z])([^`]+)`")


def shown(text: str) -> Iterator[list[str]]:
    """Give the arguments of each command in the blocks of a page, as a shell splits them."""
    blocks = [block for kind, block in BLOCK.findall(text) if kind == "sh"]
    for line in "".join(blocks).replace("\\\n", "").splitlines():
        for found in SHOWN.finditer(line):
            words = shlex.shlex(found[1], posix=True, punctuation_chars=True)
            words.whitespace_split = True
            yield list(_of_this_command(words))


def _of_this_command(words: Iterator[str]) -> Iterator[str]:
    for word in words:
        if set(word) <= set("|&;<>()"):
            return
        yield word


def named(text: str) -> list[list[str]]:
    """Return the words of each command that the text of a page names."""
    return [found.split() for found in NAMED.findall(BLOCK.sub("", text))]


@cache
def app() -> Any:
    return get_command(build_app())


def found(words: list[str]) -> tuple[Any, list[str]]:
    """Return a command, also one of a group, and what is left for it."""
    command = app()
    while words and hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    return command, words


def problem(words: list[str]) -> str:
    """Return what hcs has against a command, without running it."""
    try:
        command, arguments = found(words)
        taken = command.make_context(command.name, arguments).params
        if command.name == "simulate":
            settings_for({name: taken[name] for name in ("preset", "frames", "size", "seed")})
        values = read_values(None, taken.get("set_") or [])
        check_night(values.pop("night", {}))
        check_settings(values)
    except (typer.TyperException, HcsError, KeyError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_every_command_is_looked_at():
    blocks = [found for page in PAGES for found in BLOCK.findall((ROOT / page).read_text())]
    assert {kind for kind, block in blocks if re.search(r"^hcs ", block, re.MULTILINE)} == {"sh"}
    assert sum(len(list(shown((ROOT / page).read_text()))) for page in PAGES) > 60


@pytest.mark.parametrize("page", PAGES)
def test_hcs_takes_the_commands_of_a_page(page):
    commands = list(shown((ROOT / page).read_text()))
    refused = {shlex.join(words): text for words in commands if (text := problem(words))}
    assert refused == {}


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_names_have_these_options(page):
    for words in named((ROOT / page).read_text()):
        command, rest = found(words)
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        asked = {word.partition("=")[0] for word in rest if word.startswith("-")}
        assert asked <= known, words


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("hcs run screen.zarr --wel A/01", "No such option"),
        ("hcs run", "Missing parameter: plate"),
        ("hcs plan screen.zarr other.zarr", "unexpected extra argument"),
        ("hcs rnu screen.zarr", "KeyError"),
        ("hcs nightly plates --set night.untill=07:00", "untill"),
        ("hcs simulate demo.zarr --size 7", "size"),
    ],
)
def test_what_hcs_does_not_take_is_seen(line, text):
    (words,) = shown(f"```sh\n{line}   # a comment\n```")
    assert text in problem(words)


def test_a_command_ends_where_the_shell_ends_it():
    (words,) = shown("```sh\nx/bin/hcs train --explain > stain.yaml && cat stain.yaml\n```")
    assert words == ["train", "--explain"]
    (words,) = shown("```sh\nkubectl -n hcs exec a/b -- hcs run x.zarr --set 'a={b: c}'\n```")
    assert words == ["run", "x.zarr", "--set", "a={b: c}"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = BLOCK.sub("", (ROOT / page).read_text())
    targets = [one for one in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in one]
    assert [one for one in targets if not (ROOT / page).parent.joinpath(one).exists()] == []


@pytest.mark.parametrize("file", sorted((ROOT / "docs" / "training").glob("*.yaml")))
def test_curves_of_a_documented_training_are_lines(file):
    recipe = load_training(file).recipe
    assert recipe.steps // recipe.validate_every >= 3
