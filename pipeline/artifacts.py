"""The output folder: the only code that writes into it, in the one order that survives a kill.

Files, then manifest, then one rename, then the ledger (by the supervisor). Each step is synced
before the next. See docs/recovery.md for what is on disk after a kill at each of them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from pipeline import manifest as manifests
from pipeline.errors import Unfit
from pipeline.lock import HeldLock
from pipeline.manifest import Manifest
from stages.base import JsonValue

TMP, TRASH, TRACKS, LOGS = ".tmp", ".trash", "tracks", "logs"

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY}
_libc = ctypes.CDLL(None, use_errno=True)
_making_folders = threading.Lock()


@dataclass(frozen=True)
class OutputFolder:
    """The places of an output folder. `root` exists; `prepare` makes the rest."""

    root: Path

    def prepare(self) -> None:
        """Make the folders that every run needs.

        Raises:
            Unfit: they lie on several file systems.
        """
        for name in (TMP, TRASH, TRACKS, LOGS):
            make_folders(self.root / name)
        if len({os.stat(self.root / name).st_dev for name in (TMP, TRASH, TRACKS)}) > 1:
            raise Unfit(
                f"{TMP}, {TRASH} and {TRACKS} in {self.root} are not on one file system, so nothing "
                "can be published in one step. Name another --out, whole on one disk."
            )

    def attempt(self, token: str) -> Path:
        """Return an empty folder to work in."""
        folder = self.root / TMP / token
        folder.mkdir()
        return folder

    def track(self, folder: bytes) -> Path:
        """Return the folder of a track's outputs."""
        return self.root / TRACKS / os.fsdecode(folder)

    def stage(self, folder: bytes, stage: str, scope: str) -> Path:
        """Return where a job's outputs are published."""
        track = self.track(folder)
        return track / stage if scope == "mix" else track / "stems" / stage

    def is_untouched(self, folder: bytes, stage: str, scope: str) -> bool:
        """Say whether a published folder looks as it did when it was settled.

        False means no more than that it must be examined. Asked for every job at every start, so
        without building paths, and the folder is opened once for all that is in it.
        """
        below = stage if scope == "mix" else f"stems/{stage}"
        path = f"{self.root}/{TRACKS}/{os.fsdecode(folder)}/{below}"
        stamp_ns = -1
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                newest_ns = os.fstat(descriptor).st_mtime_ns
                with os.scandir(descriptor) as entries:
                    for entry in entries:
                        time_ns = entry.stat(follow_symlinks=False).st_mtime_ns
                        if entry.name == manifests.FILE_NAME:
                            stamp_ns = time_ns
                        elif time_ns > newest_ns:
                            newest_ns = time_ns
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return stamp_ns == newest_ns

    def relative(self, path: Path) -> str:
        """Return a path as manifests hold it."""
        return str(path.relative_to(self.root))


def publish(
    attempt: Path,
    target: Path,
    describe: Callable[[tuple[manifests.File, ...]], Manifest],
    *,
    out: OutputFolder,
    lock: HeldLock,
) -> str:
    """Make an attempt's files visible at `target`, all at once.

    Args:
        attempt: folder below `.tmp` with the files of one job, no folders among them.
        describe: gives the manifest for the files found.

    Returns:
        SHA-256 of the manifest.

    Raises:
        LockLost: the lock file is not ours any more; nothing was published.
    """
    files = []
    for entry in sorted(attempt.iterdir()):
        sync_file(entry)
        files.append(manifests.describe(entry))
    text = describe(tuple(files)).to_bytes()
    write_synced(attempt / manifests.FILE_NAME, text)
    settle(attempt, os.stat(attempt).st_mtime_ns)
    sync_folder(attempt)
    lock.check()
    put_in_place(attempt, target, out=out)
    found = manifests.read(target)
    if found is None:
        raise OSError(errno.EIO, "a folder that was just published is not whole", str(target))
    return found[1]


def settle(folder: Path, newest_ns: int) -> None:
    """Give the manifest the time of the newest thing beside it.

    Whatever is changed later, beside it or in it, the times differ then: a start sees that without
    reading a file.
    """
    os.utime(folder / manifests.FILE_NAME, ns=(newest_ns, newest_ns))


def withdraw(folder: Path) -> None:
    """Take its proof from a published folder: it is not adopted any more, and its next version
    replaces it. What the manifest lists stays known as ours, and everything stays where it is.
    """
    try:
        os.rename(folder / manifests.FILE_NAME, folder / manifests.ODD_NAME)
    except (FileNotFoundError, NotADirectoryError):
        return
    sync_folder(folder)


def put_in_place(attempt: Path, target: Path, *, out: OutputFolder) -> None:
    """Rename a whole attempt to its target; what was there goes to the trash."""
    # Another lane may have just made the track's folder: it is durable once this is let go of.
    with _alone_in(out.root / TMP):
        make_folders(target.parent)
    if not target.exists():
        os.rename(attempt, target)
    else:
        _carry_over(target, attempt)
        _swap(attempt, target, out.root / TRASH / attempt.name)
    sync_folder(target.parent)
    sync_folder(out.root / TMP)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, against other processes; it goes with the process that holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _swap(attempt: Path, target: Path, trash: Path) -> None:
    """Put the new version in place of the old one, which is in the trash from that moment on."""
    os.rename(attempt, trash)
    if not exchange(trash, target):
        os.rename(trash, attempt)
        # For an instant nothing is at the target: recovery puts the attempt there, or this back.
        os.rename(target, trash)
        sync_folder(trash.parent)
        os.rename(attempt, target)
    sync_folder(trash.parent)


def _carry_over(old: Path, new: Path) -> None:
    """Give the new folder the files of the old one that its manifest does not list: the user's.

    Linked before the swap, so that no kill can leave them in a folder that is thrown away.
    """
    ours = {manifests.FILE_NAME, manifests.ODD_NAME} | manifests.ours(old)
    for entry in sorted(old.iterdir()):
        kept = new / entry.name
        if entry.name in ours or kept.exists():
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, kept, symlinks=True, copy_function=_link)
        else:
            _link(str(entry), str(kept))
    sync_folder(new)


def _link(source: str, copy: str) -> None:
    try:
        os.link(source, copy, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, copy, follow_symlinks=False)


def exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one step; False where kernel or file system cannot."""
    if not hasattr(_libc, "renameat2"):
        return False
    swapped = _libc.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    )
    if swapped == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(one))


def move_track(out: OutputFolder, old: bytes, new: bytes) -> None:
    """Move a track's outputs to another folder name.

    What is there already is nobody's outputs that the ledger knows: it goes to the trash.
    """
    source, target = out.track(old), out.track(new)
    if old == new or not source.exists():
        return  # nothing published yet, or moved by a run that was killed before it said so
    if os.path.lexists(target):
        _into_trash(out, target)
    make_folders(target.parent)
    os.rename(source, target)
    sync_folder(target.parent)
    sync_folder(source.parent)
    _remove_empty(source.parent, up_to=out.root / TRACKS)


def trash_track(out: OutputFolder, folder: bytes) -> None:
    """Put a track's outputs into the trash, where they stay until somebody empties it."""
    source = out.track(folder)
    if source.exists():
        _into_trash(out, source)
        _remove_empty(source.parent, up_to=out.root / TRACKS)


def _into_trash(out: OutputFolder, folder: Path) -> None:
    os.rename(folder, out.root / TRASH / f"track-{secrets.token_hex(8)}")
    sync_folder(out.root / TRASH)
    sync_folder(folder.parent)


def _remove_empty(folder: Path, *, up_to: Path) -> None:
    while folder != up_to:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def clear_attempt(folder: Path) -> None:
    """Remove what an attempt left behind."""
    shutil.rmtree(folder, ignore_errors=True)


def make_folders(folder: Path) -> None:
    """Make a folder and its ancestors, each made durable in its parent."""
    missing = []
    # What another thread has just made is durable once it lets go of this.
    with _making_folders:
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for made in reversed(missing):
            made.mkdir(exist_ok=True)
            sync_folder(made.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and make its content durable. On macOS fsync stops at the drive's cache."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        _sync(stream.fileno())


def replace_json(path: Path, content: Mapping[str, JsonValue]) -> None:
    """Replace a JSON file in one step."""
    fresh = path.with_name(f"{path.name}.new")
    write_synced(fresh, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    os.rename(fresh, path)
    sync_folder(path.parent)


def set_aside(ledger: Path, *, mark: str = "damaged") -> Path:
    """Rename a ledger, with all that belongs to it; return its new name. Nothing is deleted.

    The file itself goes last: killed before that, the next start finds it damaged again, or older
    than what is published, which it then adopts.
    """
    suffixes = ("-wal", "-shm", "")
    names = (ledger.with_name(f"{ledger.name}.{mark}-{number}") for number in count(1))
    kept = next(name for name in names if not any(os.path.lexists(f"{name}{s}") for s in suffixes))
    for suffix in suffixes:
        part = ledger.with_name(f"{ledger.name}{suffix}")
        if part.exists():
            os.rename(part, f"{kept}{suffix}")
    sync_folder(ledger.parent)
    return kept


def sync_file(path: Path) -> None:
    """Make a file's content durable.

    Raises:
        OSError: never try again on the same file: the second fsync succeeds with the data lost.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make a folder's names durable."""
    sync_file(path)


def _sync(descriptor: int) -> None:
    import fcntl

    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        fcntl.fcntl(descriptor, full)
    else:
        os.fsync(descriptor)


class RunLog:
    """What happened in a run, one JSON object a line, for the morning after."""

    def __init__(self, out: OutputFolder, run_id: int) -> None:
        # Runs are numbered anew when a ledger was lost; its logs are kept.
        free = (out.root / LOGS / f"run-{number:04d}.jsonl" for number in count(run_id))
        self.path = next(path for path in free if not path.exists())
        self._stream = self.path.open("x", encoding="ascii")

    def write(self, event: Mapping[str, JsonValue]) -> None:
        """Append one event."""
        try:
            self._stream.write(json.dumps(event) + "\n")
            self._stream.flush()
        except OSError as error:
            raise Unfit(
                f"{self.path} cannot be written ({error.strerror}). The run stopped; finished work is "
                "kept. Free some space and run the same command again."
            ) from error

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # a full disk was told by `write`
            self._stream.close()
