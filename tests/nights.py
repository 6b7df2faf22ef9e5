"""A night whose runs are scripted and whose clock they move; where its tests begin."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hcs.plate.path import WellPath
from hcs.run.night import Clock, run_night
from hcs.run.night_report import NightReport
from hcs.run.night_run import PlateRun
from hcs.run.night_settings import NightSettings
from hcs.run.outcome import OnOutcome, Report, WellOutcome
from hcs.run.stopping import Stop
from hcs.settings import Settings, load_settings
from tests.plates import make_plate, still_ground

FEW = still_ground(0, n_frames=2, side=32)
WELL = WellPath.parse("A/01")
HERE = load_settings(overrides=["run.dask=none", "run.workers=1"])
NOW = {"unchanged_min": 0}


class Night:
    """A folder, a clock that runs do move, and what was run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.time = datetime.now(UTC)
        self.ran: list[str] = []
        self.settings: list[Settings] = []
        self.slept: list[float] = []
        self.heard: list[str] = []
        # what happens while a plate is analysed
        self.script: dict[str, Callable[[], object]] = {}
        self.takes_s = 60.0
        # takes what becomes of wells of the plate that was begun last
        self.hear: OnOutcome = lambda *_: None
        self.stop = Stop()
        self.scheduled: datetime | None = None

    def plate(self, name: str, *wells: str) -> str:
        url = self.folder / f"{name}.zarr"
        make_plate(url, dict.fromkeys(wells or ("A/01",), FEW))
        return str(url)

    def run(self, url: str, settings: Settings, stop: Stop, on_outcome: OnOutcome) -> PlateRun:
        name, self.hear = Path(url).stem, on_outcome
        self.ran.append(name)
        self.settings.append(settings)
        self.time += timedelta(seconds=self.takes_s)
        outcome = WellOutcome(WELL, "done")
        scripted = self.script.get(name, lambda: None)()
        if isinstance(scripted, WellOutcome):
            outcome = scripted
        done = (WELL,) if outcome.state == "done" else ()
        return PlateRun(Report(url, done, (outcome,), seconds=self.takes_s), f"http://ui/{name}")

    def sleep(self, seconds: float, stop: Stop) -> None:
        if seconds < 61:
            # between tries to list the folder
            return
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)
        self.script.get("sleep", lambda: None)()

    def __call__(self, settings: Settings = HERE, **night: object) -> NightReport:
        return run_night(
            str(self.folder),
            settings,
            NightSettings(**{**NOW, **night}),
            run=self.run,
            stop=self.stop,
            on_plate=lambda record: self.heard.append(Path(record.url).stem),
            clock=Clock(lambda: self.time, self.sleep, self.scheduled),
        )

    def until(self, minutes: float) -> str:
        # hours have no seconds: begin on a full minute
        self.time = self.time.replace(second=0, microsecond=0) + timedelta(minutes=1)
        return f"{self.time + timedelta(minutes=minutes):%H:%M}"


def states(report: NightReport) -> dict[str, str]:
    return {Path(plate.url).stem: plate.state for plate in report.plates}


def stop(error: Exception) -> Callable[[], object]:
    def script() -> object:
        raise error

    return script
