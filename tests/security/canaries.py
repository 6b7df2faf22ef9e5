"""Strings that stand for secrets, and a look for them wherever a run writes."""

import re
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

KINDS = ("prefect", "key", "session", "signature", "bearer", "mail", "webhook", "database")


class Canaries(dict[str, str]):
    """A string for each kind of secret, found nowhere else."""

    def __init__(self) -> None:
        super().__init__({kind: f"canary{uuid.uuid4().hex}" for kind in KINDS})

    def environment(self) -> dict[str, str]:
        """Return variables as an operator sets them."""
        return {
            "AWS_SECRET_ACCESS_KEY": self["key"],
            "AWS_SESSION_TOKEN": self["session"],
            "SMTP_PASSWORD": self["mail"],
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///x-{self['database']}",
            "CANARY_SIGNATURE": self["signature"],
            "CANARY_BEARER": self["bearer"],
        }

    def found(self, places: Mapping[str, bytes]) -> dict[str, list[str]]:
        """Return the places that hold a canary, and of which kinds."""
        there = {
            place: [kind for kind, text in self.items() if text.encode() in content]
            for place, content in places.items()
        }
        return {place: kinds for place, kinds in there.items() if kinds}


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class Seen:
    """What could be seen of processes from outside."""

    def __init__(self) -> None:
        self.arguments = set[str]()
        self.listening = set[tuple[str, str]]()
        self.names = set[str]()


@contextmanager
def watched(process: int) -> Iterator[Seen]:
    """Look at a process and all that it started, again and again, until the block ends."""
    seen, end = Seen(), threading.Event()

    def look() -> None:
        while not end.wait(0.2):
            for one in _family(process):
                _note(one, seen)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        end.set()
        thread.join()


def _family(process: int) -> Iterable[psutil.Process]:
    try:
        top = psutil.Process(process)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _note(one: psutil.Process, seen: Seen) -> None:
    try:
        line = " ".join(one.cmdline())
        seen.arguments.add(line)
        # the program, whatever its numbers
        name = re.sub(r"\d+", "#", line)[:200]
        for connection in one.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                seen.listening.add((connection.laddr.ip, name))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return
