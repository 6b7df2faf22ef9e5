"""A Slurm of one node, from Debian's packages slurmctld, slurmd and munge, for one test session.

And what its jobs do, here because a worker imports the module of what it calls.
"""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.servers import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
# those of daemons are not on every user's PATH
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_READY_WITHIN_S = 60

CONF = """\
ClusterName=hcs
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={controller}
SlurmdPort={daemon}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1
KillWait=20
# as many processors and as much memory as this says, whatever the machine has
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 Gres=gpu:1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]


@contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """Run a Slurm of this node; yield the environment of its users."""
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    ports = {"controller": free_port(), "daemon": free_port()}
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, user=getpass.getuser(), folder=folder, **ports))
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    environment = {"SLURM_CONF": str(conf), "PATH": _PATH}
    with ExitStack() as running:
        _start(running, folder, environment, *_munged(folder))
        _until(lambda: (folder / "munge.socket").exists(), folder)
        _start(running, folder, environment, "slurmctld", "-D", "-c")
        _start(running, folder, environment, "slurmd", "-D")
        _until(lambda: _say(environment, "sinfo", "-h", "-o", "%T").strip() == "idle", folder)
        yield environment
        _say(environment, "scancel", "--me")
        _until(lambda: not _say(environment, "squeue", "-h"), folder)


def _munged(folder: Path) -> tuple[str, ...]:
    named = {"key": "key", "socket": "socket", "pid": "pid", "log": "log", "seed": "seed"}
    files = [
        f"--{name}{'' if name == 'socket' else '-file'}={folder}/munge.{end}"
        for name, end in named.items()
    ]
    # --force: the folder above may be everybody's
    return "munged", "--foreground", "--force", *files


def _start(running: ExitStack, folder: Path, environment: dict[str, str], *command: str) -> None:
    log = running.enter_context((folder / f"{command[0]}.out").open("wb"))
    process = subprocess.Popen(
        [shutil.which(command[0], path=_PATH), *command[1:]],
        env={**os.environ, **environment},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    running.callback(process.wait)
    running.callback(process.terminate)


def _say(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True)
    return done.stdout.decode()


def _until(ready, folder: Path) -> None:
    end = time.monotonic() + _READY_WITHIN_S
    while not ready():
        if time.monotonic() > end:
            logs = "\n".join(path.read_text()[-1000:] for path in folder.glob("*.out"))
            raise TimeoutError(f"Slurm is not ready after {_READY_WITHIN_S} s:\n{logs}")
        time.sleep(0.1)


def seen_job() -> tuple[str | None, ...]:
    names = ("SLURM_JOB_NAME", "CUDA_VISIBLE_DEVICES", "NUMBA_NUM_THREADS")
    names += ("PREFECT_API_AUTH_STRING",)
    return tuple(os.environ.get(name) for name in names)


def wait_once(folder: str) -> str:
    """Wait for ever in the first job, and return the second."""
    first = Path(folder, "first")
    if not first.exists():
        first.write_text(os.environ["SLURM_JOB_ID"])
        time.sleep(600)
    return os.environ["SLURM_JOB_ID"]
