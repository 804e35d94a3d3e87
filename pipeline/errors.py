"""What can stop a run, with the exit code each leaves behind.

PipelineError
├─ WrongBytes      1   weights that came are not what was pinned
├─ NotMeasured     1   what was to be measured failed, or gave what cannot be compared
├─ BadUsage        2   a setting, an option or a name that cannot be used
├─ DatasetBusy     3   another run holds the dataset
└─ Unfit           4   disk, permissions, network file system, GPU: the surroundings
   ├─ LedgerBroken     the ledger cannot be read or written
   │  └─ LedgerDamaged    its content is damaged: a run sets it aside and makes it anew
   ├─ LockLost         the lock file was deleted or replaced under a live run
   ├─ Unreachable      no network, or nobody answers at an address
   └─ NotFetched       an address answered, but the file did not come
"""

from __future__ import annotations

from pathlib import Path


class PipelineError(Exception):
    """Root of everything that ends a command with a message instead of a traceback."""

    exit_code = 4


class BadUsage(PipelineError):
    """The user asked for something that cannot be done; the message says what can."""

    exit_code = 2


class WrongBytes(PipelineError):
    """What came is not the file that is pinned. It was removed."""

    exit_code = 1

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(address, problem)
        self.address = address
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.address} gave something else, which was removed: {self.problem}."


class NotMeasured(PipelineError):
    """What was to be measured failed, or gave what cannot be compared."""

    exit_code = 1

    def __init__(self, what: str, problem: str, detail: str) -> None:
        super().__init__(what, problem, detail)
        self.what = what
        self.problem = problem
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.what} cannot be measured: {self.problem}.\n{self.detail}".rstrip()


class DatasetBusy(PipelineError):
    """Another run holds this dataset."""

    exit_code = 3

    def __init__(self, out: Path, holder: str) -> None:
        super().__init__(out, holder)
        self.out = out
        self.holder = holder

    def __str__(self) -> str:
        return (
            f"{self.out} is in use by {self.holder}. Wait for it to end, or stop it, "
            "and run the same command again: finished work is kept."
        )


class Unfit(PipelineError):
    """The surroundings do not allow the work; the message says which and what to do."""


class LedgerBroken(Unfit):
    """The ledger cannot be used as it is."""


class LedgerDamaged(LedgerBroken):
    """The ledger's content is no longer that of a database; what was published is untouched."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(path, cause)
        self.path = path
        self.cause = cause

    def __str__(self) -> str:
        return (
            f"{self.path} is damaged ({self.cause}). `pipeline run` sets it aside and makes it anew "
            "from the manifests; so does `pipeline rebuild`, without working."
        )


class LockLost(Unfit):
    """Somebody deleted or replaced the lock file of a live run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return (
            f"{self.path} was deleted or replaced while this run held it, so another run could "
            "start beside it. This run stopped before publishing anything more; run the same "
            "command again: finished work is kept."
        )


class Unreachable(Unfit):
    """Nobody answers at an address. `wanted` are the addresses of all that is still to be fetched."""

    def __init__(self, address: str, why: str, wanted: tuple[str, ...] = ()) -> None:
        super().__init__(address, why, wanted)
        self.address = address
        self.why = why
        self.wanted = wanted

    def __str__(self) -> str:
        lines = [
            f"{self.address} cannot be reached ({self.why}). Without a network here, fetch on "
            "another machine what is listed, bring it, and give: pipeline models import FOLDER",
            *self.wanted,
        ]
        return "\n  ".join(lines)


class NotFetched(Unfit):
    """An address answered, and yet the file did not come whole."""

    def __init__(self, address: str, why: str, advice: str) -> None:
        super().__init__(address, why, advice)
        self.address = address
        self.why = why
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.address} could not be fetched: {self.why}. {self.advice}"
