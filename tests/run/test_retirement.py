"""Workers whose time is over in the middle of a well."""

import os
from types import SimpleNamespace

import pytest

from hcs.errors import WriteError
from hcs.plate.storage import Storage
from hcs.run.attempts import Attempts
from hcs.run.retirement import noted, register

NAME = "B/03/1/0"


@pytest.fixture
def attempts(tmp_path) -> Attempts:
    return Attempts(Storage.open(tmp_path / "plate.hcs"), token=4, limit=1)


@pytest.fixture
def teardown():
    """Return what a scheduler has a worker do at its end."""
    plugins = []
    register(SimpleNamespace(register_plugin=lambda plugin, name: plugins.append(plugin)))
    return plugins[0].teardown


@pytest.fixture
def exits(monkeypatch) -> list[int]:
    codes = list[int]()
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


UNDER_A_NANNY = SimpleNamespace(nanny="tcp://127.0.0.1:1")


def test_a_worker_without_work_ends_as_it_likes(teardown, exits):
    teardown(UNDER_A_NANNY)
    assert exits == []


def test_the_work_of_a_retired_worker_is_not_charged(attempts, teardown, exits):
    with noted(attempts, NAME):
        teardown(UNDER_A_NANNY)
        assert exits == [0]
        assert attempts.start(NAME) == 2


def test_a_retired_worker_that_cannot_write_it_down_lets_go_all_the_same(
    attempts, teardown, exits, monkeypatch, caplog
):
    def full(*_):
        raise WriteError("no space left")

    with noted(attempts, NAME):
        with monkeypatch.context() as disk:
            disk.setattr(type(attempts.companion), "create", full)
            teardown(UNDER_A_NANNY)
        assert exits == [0]
    assert f"start 1 of {NAME} counts as one whose worker died: no space left" in caplog.text
