"""What can go wrong, one kind each: what it means, its ``cause`` as tables give it, its exit code.

An error's text says what, with which numbers. Its ``hint`` says what to do. The core rooms know
arrays only; ``hcs.run`` adds the well and the field, once.
"""

from __future__ import annotations

from hcs.shown import shown

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_PARTIAL = 2
EXIT_USAGE = 64
# as a shell has it for Ctrl-C
EXIT_STOPPED = 130

# the cause of what is none of these kinds
UNEXPECTED = "unexpected error"
# and of what is no error: a well that is done, most of whose frames failed quality control
QUALITY = "quality"


class HcsError(Exception):
    """An error that a user can act upon.

    Parameters
    ----------
    message : str
        What is wrong, naming the file, well or field, with numbers.
    hint : str
        What to do about it; empty when the message says so already.

    Examples
    --------
    >>> error = HcsError("well B/03 has 1 frame", hint="SSL needs two")
    >>> print(error)
    well B/03 has 1 frame (SSL needs two)
    """

    # the kind in words, as tables of failed wells give it
    cause = "error"
    exit_code = EXIT_FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        # names of strangers, and addresses in texts of libraries
        self.message, self.hint = shown(message), shown(hint)
        super().__init__(self.message, self.hint)

    def __str__(self) -> str:
        """Return the message with its hint in brackets."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class PlateError(HcsError):
    """The plate is not one, or not one that we can read; all its problems in one message."""

    cause = "plate metadata"


class MissingError(HcsError):
    """A well, field, channel, label image or table that was asked for is not there."""

    cause = "something missing"


class CorruptError(HcsError):
    """Bytes on disk are damaged: truncated, missing or not what their checksum says."""

    cause = "damaged data"


class WriteError(HcsError):
    """Nothing can be written here: read-only, full, or not on a chunk boundary."""

    cause = "not writable"


class StorageError(HcsError):
    """A disk, a network or a server failed, perhaps for a moment only: another try may succeed."""

    cause = "storage failure"


class LockedError(HcsError):
    """Another run holds the plate, or took it over from this one."""

    cause = "plate in use"


class WorkerError(HcsError):
    """Workers that are not there, lack what a step needs, take too long, or die each time."""

    cause = "worker failure"


class NoWorkersError(WorkerError):
    """Workers that are not there, and do not come; another time they may."""

    cause = "no workers"


class StoppedError(HcsError):
    """Somebody stopped the run; what was finished is kept."""

    cause = "stopped"
    exit_code = EXIT_STOPPED


class SettingsError(HcsError):
    """Settings that are unknown, out of range or contradict each other."""

    cause = "settings"
    exit_code = EXIT_USAGE


class FramesError(HcsError):
    """Frames that cannot be analysed: too few, constant, not finite, or of mixed shapes."""

    cause = "unusable frames"


class ImportFilesError(HcsError):
    """Files of a microscope that do not make a plate; all their problems in one message."""

    cause = "microscope files"


class WeightsError(HcsError):
    """Weights of a network that are damaged, hostile, or for other images than the plate's."""

    cause = "network weights"


class TrainingError(HcsError):
    """Training that cannot start or go on: nothing to learn from, or numbers that ran away."""

    cause = "training"


class RanAwayError(TrainingError):
    """A training whose numbers ran away: a loss or gradient that is not finite."""
