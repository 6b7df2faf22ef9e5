"""The rules by which work is tried again: the same in threads and in real worker processes."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from unittest.mock import AsyncMock, patch

import pytest

from hcs.errors import FramesError, SettingsError, StoppedError, WorkerError
from hcs.plate.storage import Storage
from hcs.run.attempts import Attempts
from hcs.run.calls import Call, CallTimeoutError, Cluster, _AtWork
from hcs.run.cluster import open_cluster
from hcs.run.stopping import Stop
from hcs.run.threads import is_any_hanging
from hcs.settings import RunSettings, check_settings

ERRORS = {"io": OSError("flaky disk"), "input": FramesError("1 frame"), "bug": KeyError("label")}


def scripted(folder: str, name: str, script: tuple[str, ...]) -> str:
    """Do what the script says for this start: an error, "kill", "sleep", or "ok"."""
    Path(folder).mkdir(exist_ok=True)
    start = len(list(Path(folder).glob(f"{name}-*")))
    Path(folder, f"{name}-{start}").touch()
    act = script[min(start, len(script) - 1)]
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "sleep":
        time.sleep(60)
    if act != "ok":
        raise ERRORS[act]
    return f"{name} ok"


@pytest.fixture(scope="module")
def processes():
    with open_cluster(RunSettings(dask="local", workers=2, memory_per_worker="1GB")) as cluster:
        yield cluster


@pytest.fixture
def threads():
    with open_cluster(RunSettings(dask="none", workers=2)) as cluster:
        yield cluster


@pytest.fixture(params=["threads", "processes"])
def cluster(request) -> Cluster:
    return request.getfixturevalue(request.param)


@pytest.fixture
def attempts(tmp_path) -> Attempts:
    return Attempts(Storage.open(tmp_path / "plate.hcs"), token=1, limit=3)


def call(tmp_path: Path, name: str, *script: str) -> Call:
    return Call(name, scripted, (str(tmp_path / "starts"), name, script))


def starts(tmp_path: Path, name: str) -> int:
    return len(list((tmp_path / "starts").glob(f"{name}-*")))


def test_work_that_succeeds_runs_once(cluster, attempts, tmp_path):
    assert cluster.run(call(tmp_path, "well", "ok"), attempts) == "well ok"
    assert starts(tmp_path, "well") == attempts.count("well") == 1


def test_a_passing_error_is_tried_again(cluster, attempts, tmp_path):
    assert cluster.run(call(tmp_path, "well", "io", "io", "ok"), attempts) == "well ok"
    assert starts(tmp_path, "well") == 3


def test_a_passing_error_that_stays_is_raised_after_the_last_attempt(cluster, attempts, tmp_path):
    with pytest.raises(OSError, match="flaky disk"):
        cluster.run(call(tmp_path, "well", "io"), attempts)
    assert starts(tmp_path, "well") == 3


@pytest.mark.parametrize(("act", "error"), [("input", FramesError), ("bug", KeyError)])
def test_bad_input_and_bugs_are_not_tried_again(cluster, attempts, tmp_path, act, error):
    with pytest.raises(error):
        cluster.run(call(tmp_path, "well", act), attempts)
    assert starts(tmp_path, "well") == 1


def test_a_resource_that_no_worker_has_is_refused_before_submission(cluster, attempts, tmp_path):
    asking = Call("well", scripted, (str(tmp_path), "well", ("ok",)), resources={"GPU": 1})
    with pytest.raises(WorkerError, match=r"no worker offers \{'GPU': 1\}, which well asks for"):
        cluster.run(asking, attempts)
    assert attempts.count("well") == 0


# GPUs


def seen_gpus() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr("hcs.isl.device.count_gpus", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_without_torch_no_gpu_is_there_to_be_offered(monkeypatch):
    monkeypatch.setitem(sys.modules, "hcs.isl.device", None)
    with open_cluster(RunSettings(dask="none", workers=1, device="gpu")) as cluster:
        assert not cluster.offers({"GPU": 1})


def test_threads_offer_a_gpu_where_there_is_one(two_gpus, attempts):
    asking = Call("well", seen_gpus, (), resources={"GPU": 1})
    with open_cluster(RunSettings(dask="none", workers=1, device="any")) as cluster:
        assert cluster.offers({"GPU": 1})
        assert not cluster.offers({"GPU": 2})
        assert cluster.run(asking, attempts) is None
    with open_cluster(RunSettings(dask="none", workers=1, device="cpu")) as cluster:
        assert not cluster.offers({"GPU": 1})


@pytest.mark.integration
def test_each_gpu_has_a_worker_that_sees_no_other(two_gpus, attempts):
    settings = RunSettings(dask="local", workers=1, device="gpu", memory_per_worker="1GB")
    with open_cluster(settings) as cluster:
        assert cluster.n_workers == 3
        calls = [Call(f"gpu-{i}", seen_gpus, (), resources={"GPU": 1}) for i in range(6)]
        with ThreadPoolExecutor(6) as threads:
            seen = set(threads.map(lambda one: cluster.run(one, attempts), calls))
        assert seen <= {"0", "1"}
        assert cluster.run(Call("any", seen_gpus, ()), attempts) in {None, "0", "1"}


@pytest.mark.integration
def test_a_worker_of_a_scheduler_elsewhere_is_asked_for_its_gpu(attempts):
    from distributed import LocalCluster

    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            resources={"GPU": 1},
        ) as workers,
        open_cluster(RunSettings(dask=workers.scheduler_address, device="gpu")) as cluster,
    ):
        assert cluster.offers({"GPU": 1})
        assert cluster.run(Call("well", abs, (-3,), resources={"GPU": 1}), attempts) == 3


def add_up_with_dask() -> int:
    import dask.array

    return int(dask.array.ones(10, chunks=2, dtype=int).sum().compute())


@pytest.mark.integration
def test_work_that_computes_with_dask_itself_does_not_wait_for_its_own_cluster(processes, attempts):
    hurried = Cluster(processes._workers, timeout_s=20)
    calls = [Call(f"well-{i}", add_up_with_dask, ()) for i in range(4)]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda one: hurried.run(one, attempts), calls))
    assert results == [10] * 4
    assert [attempts.count(one.name) for one in calls] == [1] * 4


@pytest.mark.integration
def test_work_whose_worker_dies_is_started_once_more(processes, attempts, tmp_path):
    assert processes.run(call(tmp_path, "well", "kill", "ok"), attempts) == "well ok"
    assert starts(tmp_path, "well") == 2


@pytest.mark.integration
def test_a_poison_well_is_given_up_after_three_workers_and_its_neighbour_is_not_charged(
    processes, attempts, tmp_path
):
    with pytest.raises(WorkerError, match="poison was started 3 times and its worker died"):
        processes.run(call(tmp_path, "poison", "kill"), attempts)
    assert starts(tmp_path, "poison") == 3
    assert processes.run(call(tmp_path, "neighbour", "ok"), attempts) == "neighbour ok"
    assert attempts.count("neighbour") == 1


@pytest.mark.integration
def test_stuck_work_is_stopped_with_its_worker_and_tried_again(processes, attempts, tmp_path):
    hurried = Cluster(processes._workers, timeout_s=1.5)
    assert hurried.run(call(tmp_path, "stuck", "sleep", "ok"), attempts) == "stuck ok"
    assert starts(tmp_path, "stuck") == 2


@pytest.mark.integration
def test_local_processes_listen_on_this_machine_only(processes):
    import psutil

    # one that an earlier test killed is back
    processes._workers._client.wait_for_workers(2)
    listening = set()
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        # one that an earlier test stopped may be ending
        with suppress(psutil.NoSuchProcess):
            sockets = [c for c in process.net_connections() if c.status == "LISTEN"]
            listening |= {socket.laddr.ip for socket in sockets}
    assert listening == {"127.0.0.1"}


def test_work_that_takes_too_long_each_time_is_reported(threads, tmp_path):
    hurried = Cluster(threads._workers, timeout_s=0.05)
    once = Attempts(Storage.open(tmp_path / "plate.hcs"), token=1, limit=1)
    slow = Call("slow", time.sleep, (3,))
    with pytest.raises(CallTimeoutError, match=r"slow took longer than 0\.05 s"):
        hurried.run(slow, once)


def test_time_in_a_queue_does_not_count(attempts):
    with (
        open_cluster(RunSettings(dask="none", workers=1, timeout_s=1.5)) as cluster,
        ThreadPoolExecutor(3) as threads,
    ):
        calls = [Call(f"well-{i}", time.sleep, (1.0,)) for i in range(3)]
        list(threads.map(lambda one: cluster.run(one, attempts), calls))
    assert [attempts.count(one.name) for one in calls] == [1] * 3


def test_what_hangs_is_ended_however_early_it_started(threads, attempts, monkeypatch):
    hurried = Cluster(threads._workers, timeout_s=0.2)
    submit = threads._workers.submit

    def late(call: Call, attempts: Attempts) -> object:
        future = submit(call, attempts)
        while not attempts.most(call.name):
            time.sleep(0.01)
        return future

    monkeypatch.setattr(threads._workers, "submit", late)
    once = Attempts(attempts.companion, token=1, limit=1)
    with pytest.raises(CallTimeoutError, match="well took longer"):
        hurried.run(Call("well", time.sleep, (60,)), once)


def test_a_retired_start_is_no_longer_at_work(attempts):
    now, work = [0.0], None
    with patch("hcs.run.calls.time.monotonic", lambda: now[0]):
        work = _AtWork("well", attempts, 10.0)
        attempts.retire("well", attempts.start("well"))
        for now[0] in range(1, 100):
            assert not work.is_late()
        attempts.start("well")
        late = [at for now[0] in range(100, 120) if work.is_late() and (at := now[0])]
    # seen when it was looked for
    assert late[0] == 110


def test_a_thread_that_hangs_has_its_place_taken(attempts, tmp_path):
    with open_cluster(RunSettings(dask="none", workers=1, timeout_s=0.5)) as cluster:
        assert cluster.run(call(tmp_path, "stuck", "sleep", "sleep", "ok"), attempts) == "stuck ok"
        assert cluster.run(call(tmp_path, "next", "ok"), attempts) == "next ok"
    assert is_any_hanging()


@pytest.mark.integration
def test_no_scheduler_at_an_address_is_said(monkeypatch):
    monkeypatch.setattr("hcs.run.cluster._WORKERS_WITHIN_S", 1)
    settings = RunSettings(dask="tcp://127.0.0.1:1")
    with (
        pytest.raises(WorkerError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:1"),
        open_cluster(settings),
    ):
        pass


@pytest.mark.integration
def test_a_scheduler_without_workers_is_said(monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr("hcs.run.cluster._WORKERS_WITHIN_S", 1)
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as empty,
        pytest.raises(WorkerError, match="has no workers after 1 s"),
        open_cluster(RunSettings(dask=empty.scheduler_address)),
    ):
        pass


@pytest.mark.integration
@pytest.mark.parametrize("adaptive", [None, (0, 2)])
def test_who_waits_for_a_first_worker_ends_when_it_is_asked_to(adaptive):
    from distributed import LocalCluster

    stop = Stop()
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as empty:
        # `adaptive` at an address says that others start workers: nothing is waited for there
        dask = "local" if adaptive else empty.scheduler_address
        settings = RunSettings(dask=dask, workers=None if adaptive else 1, adaptive=adaptive)
        asking = threading.Timer(0.5, stop.ask)
        asking.start()
        begun = time.monotonic()
        with (
            patch("hcs.run.scaling.Scaling.scale_up", AsyncMock()),
            pytest.raises(StoppedError),
            open_cluster(settings, stop),
        ):
            pass
        assert time.monotonic() - begun < 20
        asking.join()


@pytest.mark.integration
@pytest.mark.parametrize("deaths", [2, 3])
def test_workers_that_die_while_they_start_are_started_again(deaths, monkeypatch):
    import distributed

    started = []

    class Fragile(distributed.LocalCluster):
        def __init__(self, **options):
            started.append(options)
            if len(started) <= deaths:
                raise RuntimeError("Nanny failed to start.")
            super().__init__(**options)

    monkeypatch.setattr(distributed, "LocalCluster", Fragile)
    settings = RunSettings(dask="local", workers=1)
    if deaths < 3:
        with open_cluster(settings) as cluster:
            assert cluster.n_workers == 1
    else:
        with (
            pytest.raises(WorkerError, match="do not start, tried 3 times: Nanny failed"),
            open_cluster(settings),
        ):
            pass
    assert len(started) == 3


@pytest.mark.integration
def test_who_leaves_a_scheduler_of_others_leaves_nobody_busy(attempts, tmp_path):
    from distributed import Client, LocalCluster

    stuck = call(tmp_path, "stuck", "sleep")
    with (
        LocalCluster(n_workers=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as others,
        Client(others, set_as_default=False) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        with open_cluster(RunSettings(dask=others.scheduler_address)) as cluster:
            found = thread.submit(cluster.run, stuck, attempts)
            while not starts(tmp_path, "stuck"):
                time.sleep(0.05)
        assert isinstance(found.exception(30), Exception)
        # long before its minute is over
        assert other.submit(abs, -3).result(30) == 3


# all workers gone


class Changed:
    """What a worker cannot read, as after a change of hcs while it runs."""

    def __reduce__(self) -> tuple:
        return _read_here, ()


def _read_here() -> Changed:
    if multiprocessing.parent_process():
        raise ImportError("cannot import name")
    # by the scheduler, which passes it on
    return Changed()


@pytest.mark.integration
def test_local_workers_that_are_gone_for_good_end_the_work_that_waits_for_them(
    monkeypatch, attempts
):
    monkeypatch.setattr("hcs.run.calls._LOOK_S", 0.2)
    settings = RunSettings(dask="local", workers=1, memory_per_worker="1GB")
    with open_cluster(settings) as cluster:
        assert cluster.run(Call("well", abs, (-3,)), attempts) == 3
        for name, argument in {"poison": Changed(), "next": -3}.items():
            with pytest.raises(WorkerError, match="all worker processes ended for good"):
                cluster.run(Call(name, abs, (argument,)), attempts)


def gone(cluster: Cluster, others: object) -> None:
    """Return when a scheduler has no workers any more."""
    others.scale(0)
    while cluster._workers._client.scheduler_info(n_workers=-1)["workers"]:
        time.sleep(0.05)


@pytest.mark.integration
def test_a_worker_that_left_meanwhile_need_not_be_killed(processes, monkeypatch):
    client = processes._workers._client
    monkeypatch.setattr(client, "processing", lambda: {"tcp://127.0.0.1:1": ["gone"]})
    future = client.submit(abs, -3, key="gone")
    processes._workers.stop(future)


@pytest.mark.integration
def test_workers_of_others_that_go_are_waited_for_but_not_for_ever(monkeypatch, attempts, caplog):
    from distributed import LocalCluster

    monkeypatch.setattr("hcs.run.calls._LOOK_S", 0.2)
    with (
        LocalCluster(n_workers=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as others,
        open_cluster(RunSettings(dask=others.scheduler_address)) as cluster,
        ThreadPoolExecutor(1) as thread,
    ):
        gone(cluster, others)
        found = thread.submit(cluster.run, Call("well", abs, (-3,)), attempts)
        while "has no workers: waiting for them" not in caplog.text:
            assert not found.done()
            time.sleep(0.05)
        others.scale(1)
        assert found.result(60) == 3
        gone(cluster, others)
        monkeypatch.setattr("hcs.run.missing.Missing.patience_s", 0.5)
        with pytest.raises(WorkerError, match=r"has had no workers for 0\.5 s"):
            cluster.run(Call("last", abs, (-3,)), attempts)


# coming and going


@pytest.mark.integration
def test_workers_come_with_the_work_and_go_when_they_have_nothing_to_do(monkeypatch, attempts):
    monkeypatch.setattr("hcs.run.cluster._LOOK_S", 0.2)
    monkeypatch.setattr("hcs.run.cluster._IDLE_LOOKS", 1)
    settings = RunSettings(dask="local", adaptive=(0, 2), memory_per_worker="1GB")
    with open_cluster(settings) as cluster:
        # of those that may come
        assert cluster.n_workers == 2
        client = cluster._workers._client
        for round_ in ("first", "second"):
            calls = [Call(f"{round_}-{i}", abs, (-i,)) for i in range(4)]
            with ThreadPoolExecutor(4) as threads:
                assert list(threads.map(lambda one: cluster.run(one, attempts), calls)) == [
                    0,
                    1,
                    2,
                    3,
                ]
            assert [attempts.count(one.name) for one in calls] == [1] * 4
            while client.scheduler_info(n_workers=-1)["workers"]:
                time.sleep(0.1)


@pytest.mark.integration
def test_workers_that_others_start_at_an_address_are_waited_for(attempts):
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as empty:
        settings = RunSettings(dask=empty.scheduler_address, adaptive=(0, 3), device="gpu")
        with open_cluster(settings) as cluster, ThreadPoolExecutor(1) as thread:
            assert cluster.n_workers == 3
            assert cluster.offers({"GPU": 1})
            found = thread.submit(cluster.run, Call("well", abs, (-3,)), attempts)
            empty.scale(1)
            assert found.result() == 3


def test_a_start_whose_worker_was_retired_does_not_count(attempts):
    for _ in range(5):
        attempts.retire("well", attempts.start("well"))
    assert attempts.count("well") == 0
    assert attempts.most("well") == 5
    attempts.start("well")
    assert attempts.count("well") == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dask": "slrum"}, "'slrum' is none of local, none, slurm, kubernetes, nor an address"),
        ({"adaptive": (4, 2)}, "the fewest workers, 4, are more than 2"),
        ({"adaptive": (0, 0)}, "input should be greater than 0"),
    ],
)
def test_workers_that_cannot_be_are_refused(values, words):
    with pytest.raises(SettingsError, match=words):
        check_settings({"run": values})
