"""Workers by a Dask client: what happens when the client gives its scheduler up."""

from collections.abc import Iterator
from time import sleep

import pytest
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError

from hcs.errors import NoWorkersError, WorkerError
from hcs.plate.storage import Storage
from hcs.run.attempts import Attempts
from hcs.run.calls import Call, Cluster
from hcs.run.workers import Coming, DaskWorkers

pytestmark = pytest.mark.integration


@pytest.fixture
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_nobody_waits_for_what_a_closing_client_was_given(client, tmp_path, monkeypatch):
    monkeypatch.setattr("hcs.run.calls._LOOK_S", 0.1)
    attempts = Attempts(Storage.open(tmp_path), 1, 3)
    workers = DaskWorkers(client, [Coming(1)])
    submit = client.submit

    def closes_meanwhile(*arguments: object, **options: object) -> object:
        future = submit(*arguments, **options)
        client.status = "closing"
        return future

    monkeypatch.setattr(client, "submit", closes_meanwhile)
    for name in ("on its way", "next"):
        with pytest.raises(WorkerError, match="scheduler was lost"):
            Cluster(workers).run(Call(name, abs, (-3,)), attempts)
    client.status = "running"


def test_work_that_the_scheduler_let_go_of_is_told_so(client, tmp_path, monkeypatch):
    submit = client.submit

    def let_go(*arguments: object, **options: object) -> object:
        future = submit(*arguments, **options)
        future.cancel()
        return future

    monkeypatch.setattr(client, "submit", let_go)
    attempts = Attempts(Storage.open(tmp_path), 1, 3)
    with pytest.raises(WorkerError, match="scheduler was lost, with A/01/1/0"):
        Cluster(DaskWorkers(client, [Coming(1)])).run(Call("A/01/1/0", abs, (-3,)), attempts)


def test_dask_learns_from_one_well_how_long_the_next_one_takes(client, tmp_path):
    client.cluster.scale(1)
    cluster, attempts = Cluster(DaskWorkers(client)), Attempts(Storage.open(tmp_path), 1, 3)
    for well in ("A/01", "A/02"):
        cluster.run(Call(f"{well}/1/0", sleep, (0.1,)), attempts)
    (kind,) = client.cluster.scheduler.task_prefixes.values()
    assert kind.name == "sleep"
    assert kind.duration_average > 0.05


class Lost:
    """Workers that are gone, with a result that nobody had fetched yet."""

    count = 1

    def submit(self, call: Call, attempts: Attempts) -> "Lost":
        return self

    def exception(self, timeout: float | None = None) -> None:
        """Say that the call went well."""

    def result(self, timeout: float | None = None) -> object:
        assert timeout, "waits without end"
        raise TimeoutError

    def offers(self, resources: object) -> bool:
        return True

    def check(self, resources: object) -> None:
        raise WorkerError("the scheduler has had no workers for an hour")

    def forget(self, future: object) -> None:
        """Let go of it."""


def test_a_result_that_was_lost_with_its_worker_is_not_waited_for_without_end(tmp_path):
    attempts = Attempts(Storage.open(tmp_path), 1, 3)
    with pytest.raises(WorkerError, match="no workers for an hour"):
        Cluster(Lost()).run(Call("A/01/1/0", abs, (-3,)), attempts)


class CutOff(Lost):
    """Workers whose scheduler ends while a result is fetched."""

    def result(self, timeout: float | None = None) -> object:
        raise CommClosedError("in <TCP (closed) ConnectionPool.gather>: Stream is closed")


def test_a_result_that_was_cut_off_is_lost_with_the_scheduler(tmp_path):
    attempts = Attempts(Storage.open(tmp_path), 1, 3)
    with pytest.raises(NoWorkersError, match="scheduler was lost, with A/01/1/0"):
        Cluster(CutOff()).run(Call("A/01/1/0", abs, (-3,)), attempts)
