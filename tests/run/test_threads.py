"""Threads that do calls, and those that hang."""

import subprocess
import sys
import time
from concurrent.futures import CancelledError
from threading import Event

import pytest

from hcs.run.threads import Threads

HANGS = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from hcs.cli.main import main
from hcs.run.threads import Threads

threads = Threads(1, "well")
# as by a read that never returns
hanging = threads.submit(lambda: ThreadPoolExecutor(1).submit(time.sleep, 1000).result())
while not hanging.running():
    time.sleep(0.01)
threads.give_up(hanging)
sys.argv = ["hcs", "settings"]
main()
"""


def test_so_many_calls_are_done_at_the_same_time_and_all_in_the_end():
    threads, at_work, most = Threads(2, "well"), list[int](), list[int]()

    def work(number: int) -> int:
        at_work.append(number)
        most.append(len(at_work))
        time.sleep(0.01)
        at_work.remove(number)
        return number

    futures = [threads.submit(work, number) for number in range(10)]
    assert [future.result(60) for future in futures] == list(range(10))
    assert max(most) == 2
    # one that has ended has no place to give
    threads.give_up(futures[0])
    assert threads._places._value == 2


def test_an_error_is_raised_where_the_call_is_waited_for():
    with pytest.raises(ZeroDivisionError):
        Threads(1, "well").submit(lambda: 1 / 0).result(60)


def test_who_closes_drops_what_has_not_begun_and_waits_for_nothing():
    threads, begun, over = Threads(1, "well"), Event(), Event()
    first = threads.submit(lambda: begun.set() or over.wait())
    begun.wait(60)
    second = threads.submit(abs, -3)
    threads.close()
    with pytest.raises(CancelledError):
        second.result(60)
    over.set()
    assert first.result(60)


@pytest.mark.integration
def test_a_command_ends_though_a_thread_of_it_hangs():
    ended = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert "methods:" in ended.stdout
