"""One run per plate: a lock whose token grows with each holder.

Claims are files ``lock/<token>.json`` in the plate's companion, each made only if it is absent;
that works on disks and on S3. The holder is the highest token. It rewrites its claim every few
seconds; whoever finds the claim unchanged for long enough, by its own clock, takes over with the
next token. Before each marker a holder, or a worker on its behalf, looks whether its token is
still the highest: one that was stopped and wakes up after a takeover writes no marker.

On NFS a listing may lag behind by the mount's ``acdirmax``. Who holds the lock is decided by
making the file, where nothing lags; only the news of a takeover may come that much later.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from hcs.errors import HcsError, LockedError, PlateError, StorageError, WriteError
from hcs.plate.path import is_number
from hcs.plate.storage import PARTIAL

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from hcs.plate.storage import Storage

logger = logging.getLogger(__name__)

FOLDER = "lock"
HEARTBEAT_S = 5.0
STALE_S = 30.0
# bytes; a claim has some hundreds
_LARGEST = 64_000
# a claim is looked at so often between two heartbeats of its holder
_LOOKS_PER_BEAT = 4


@dataclass(frozen=True)
class Claim:
    """What a holder writes of itself.

    Parameters
    ----------
    holder, host, since : str
        For people: user and process, machine, UTC time.
    process : str
        Names the process for others on the same machine; empty where the system has no ``/proc``.
    heartbeat_s : float
        How often `beat` grows; a claim that says less than 0.01 or more than 60 is a damaged one,
        by which others would wait without rest or for ever.
    beat : int
    state : {"held", "released"}
    """

    holder: str
    host: str
    since: str
    process: str
    heartbeat_s: Annotated[float, Field(ge=0.01, le=60)]
    beat: int = 0
    state: Literal["held", "released"] = "held"


_UNKNOWN = Claim("an unknown process", "an unknown host", "an unknown time", "", HEARTBEAT_S)
_claim_reader = TypeAdapter(Claim)


class Lock:
    """A held lock, with the thread that keeps it alive; use it in a ``with`` statement.

    Parameters
    ----------
    companion : Storage
    token : int
        Higher than that of every holder before.
    claim : Claim
        As it stands in the file.
    """

    def __init__(self, companion: Storage, token: int, claim: Claim) -> None:
        self.token = token
        self.holder = claim.holder
        self._companion = companion
        self._claim = claim
        self._end = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="hcs plate lock", daemon=True)
        self._heart.start()

    def _beat(self) -> None:
        while not self._end.wait(self._claim.heartbeat_s):
            try:
                self.check()
                self._write(replace(self._claim, beat=self._claim.beat + 1))
            except LockedError as error:
                logger.warning("%s", error)
                return
            except (HcsError, OSError) as error:
                # a full disk or a lost connection may pass; if not, others take over
                logger.warning("no heartbeat of the plate's lock: %s", error)

    def _write(self, claim: Claim) -> None:
        self._claim = claim
        self._companion.write(_key(self.token), _to_json(claim))

    def check(self) -> None:
        """Raise LockedError when another run has taken over."""
        check_token(self._companion, self.token)

    def release(self) -> None:
        """Let the next run have the plate; one that was taken over has nothing to release."""
        self._end.set()
        self._heart.join()
        try:
            if self._claim.state == "held" and _highest(self._companion) == self.token:
                # rewritten, not deleted: the next token must be higher
                self._write(replace(self._claim, state="released"))
        except (WriteError, StorageError) as error:
            # what the run has to say matters more, and a dead holder is seen
            logger.warning("the plate's lock stays until this process ends: %s", error)

    def __enter__(self) -> Self:
        """Return the lock."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock, whatever happened."""
        self.release()


def acquire(
    companion: Storage, *, heartbeat_s: float = HEARTBEAT_S, stale_s: float = STALE_S
) -> Lock:
    """Take the plate's lock, or find out who has it.

    A holder that was killed on this machine is seen at once, one elsewhere after `stale_s`; who
    is alive is known by its next heartbeat.

    Parameters
    ----------
    companion : Storage
        ``<plate>.hcs``, where the claims are.
    heartbeat_s : float
        How often the claim is renewed, seconds, 0.01 to 60.
    stale_s : float
        A claim that nobody renewed for so long is dead, seconds; never under three heartbeats
        of its holder.

    Raises
    ------
    LockedError
        Another run is alive, or was faster; names it.
    WriteError
        The companion cannot be written.
    """
    before = _highest(companion)
    dead = _wait_until_free(companion, before, stale_s) if before else None
    token = before + 1
    claim = Claim(
        holder=f"{_user()} (process {os.getpid()})",
        host=socket.gethostname(),
        since=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        process=_process_name("self"),
        heartbeat_s=heartbeat_s,
    )
    if not _make(companion, token, claim):
        raise _locked(companion)
    if _highest(companion) != token:
        # others came, went and swept in between, so that the number was free again
        companion.delete(_key(token))
        raise _locked(companion)
    if dead:
        logger.warning("took over plate %s from %s, which is dead", companion.name, dead.holder)
    _sweep(companion, token)
    return Lock(companion, token, claim)


def _make(companion: Storage, token: int, claim: Claim) -> bool:
    """Make a claim if there is none of its token: True for one of several that try at once."""
    try:
        return companion.create(_key(token), _to_json(claim))
    except HcsError:
        # a faster one sweeps, and may have taken the temporary file away
        if _highest(companion) < token:
            raise
        return False


def _sweep(companion: Storage, token: int) -> None:
    """Delete the claims before a token, and what writers of such, or of its own, left behind.

    One killed before its claim was there left its token to the next; who tries for it now loses.
    """
    for key in companion.sizes(FOLDER):
        number = key.rpartition("/")[2].lstrip(".").partition(".")[0]
        first_kept = token + 1 if key.endswith(PARTIAL) else token
        if is_number(number) and int(number) < first_kept:
            companion.delete(key)


@dataclass(frozen=True)
class Holding:
    """Who has a plate, as far as can be seen without waiting.

    Parameters
    ----------
    state : {"free", "held", "dead"}
        Dead: its process, on this machine, was killed; the next run takes over. A holder on
        another machine counts as alive: only its heartbeat would tell.
    token : int
        0 where nobody ever held it.
    claim : Claim or None
        Of the holder.
    """

    state: Literal["free", "held", "dead"]
    token: int = 0
    claim: Claim | None = None


def look(companion: Storage) -> Holding:
    """Return who has a plate now; nothing is written."""
    token, claim = _newest(companion)
    if not token:
        return Holding("free")
    if claim.state == "released":
        return Holding("free", token)
    return Holding("dead" if _is_dead(claim.process) else "held", token, claim)


def check_token(companion: Storage, token: int) -> None:
    """Raise unless a token is still the plate's highest, and held.

    Workers call it before each marker, on behalf of the run that sent them.

    Raises
    ------
    LockedError
        Another run took over, or this one has ended.
    """
    highest, claim = _newest(companion)
    if highest == token and claim.state == "held":
        return
    if highest > token:
        raise LockedError(
            f"plate {companion.name} was taken over by {claim.holder} on {claim.host} "
            f"since {claim.since}: token {token} is out, {highest} is in",
            hint="this run was thought dead; nothing that it still writes will be marked as done",
        )
    raise LockedError(
        f"plate {companion.name} is no longer held by token {token}",
        hint="its run has ended or its lock was removed; run again",
    )


def _wait_until_free(companion: Storage, token: int, stale_s: float) -> Claim | None:
    """Return the holder if it is dead, None if it let go; LockedError if it is alive."""
    claim, first = _read(companion, token)
    if not first and _highest(companion) != token:
        # swept since we looked, by the next one
        raise _locked(companion)
    end = time.monotonic() + max(stale_s, 3 * claim.heartbeat_s)
    while claim.state == "held" and not _is_dead(claim.process) and time.monotonic() < end:
        time.sleep(claim.heartbeat_s / _LOOKS_PER_BEAT)
        claim, content = _read(companion, token)
        if content != first and claim.state == "held":
            raise _locked(companion)
    return claim if claim.state == "held" else None


def _locked(companion: Storage) -> LockedError:
    _, claim = _newest(companion)
    return LockedError(
        f"plate {companion.name} is locked by {claim.holder} on {claim.host} since {claim.since}",
        hint="wait until it has finished, or stop it; one that was killed is taken over by itself",
    )


def _key(token: int) -> str:
    return f"{FOLDER}/{token:08d}.json"


def _tokens(companion: Storage) -> list[int]:
    names = [key.rpartition("/")[2] for key in companion.sizes(FOLDER)]
    stems = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    return sorted(int(stem) for stem in stems if is_number(stem))


def _highest(companion: Storage) -> int:
    return max(_tokens(companion), default=0)


def _newest(companion: Storage) -> tuple[int, Claim]:
    """Return the highest token and its claim; an older one is never told of, though swept."""
    token = _highest(companion)
    claim, content = _read(companion, token)
    while not content and (newer := _highest(companion)) != token:
        token = newer
        claim, content = _read(companion, token)
    return token, claim


def _to_json(claim: Claim) -> bytes:
    return json.dumps(asdict(claim), indent=1).encode()


def _read(companion: Storage, token: int) -> tuple[Claim, bytes]:
    """Return a claim and its bytes; one that is swept or damaged is of an unknown holder."""
    try:
        content = companion.read(_key(token), _LARGEST)
    except FileNotFoundError:
        return _UNKNOWN, b""
    except PlateError as error:
        # it is there, and none of ours
        return _UNKNOWN, str(error).encode()
    try:
        return _claim_reader.validate_json(content), content
    except ValidationError:
        return _UNKNOWN, content


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        # a container's user may have a number only
        return f"user {os.getuid()}"


def _process_name(pid: str) -> str:
    """Return boot, pid namespace, pid and start time of a process; empty if it is not there.

    The start time tells a process from a later one with the same number, boot and namespace one
    on this machine from one elsewhere.
    """
    proc = Path("/proc")
    if not (pid.isascii() and pid.isalnum()):
        # of a claim that somebody else wrote: it is no path
        return ""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (proc / "self/ns/pid").readlink()
        # the name, in brackets, may hold spaces: state is the first field after it
        number, _, rest = (proc / pid / "stat").read_text(errors="replace").partition(" ")
        fields = rest.rpartition(")")[2].split()
    except OSError:
        return ""
    state, start = fields[0], fields[19]
    return "" if state in "ZX" else f"{boot} {namespace} {number} {start}"


def _is_dead(process: str) -> bool:
    """Tell whether a process of this machine has ended; of another machine's nobody knows."""
    mine = _process_name("self").split()
    theirs = process.split()
    if len(mine) < 4 or len(theirs) < 4 or theirs[:2] != mine[:2]:
        return False
    return _process_name(theirs[2]) != process
