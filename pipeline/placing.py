"""Where a track's outputs live: named after its path, moved when the source moves.

Every step is one rename followed by one transaction, and a second time finds the first half done:
killed between them, the next run's probe does the same again and only the ledger is left to tell.
"""

from __future__ import annotations

import os

from pipeline.artifacts import move_track, trash_track
from pipeline.identity import identity
from pipeline.ledger.files import KnownPath, KnownTrack, Probed
from pipeline.night import Night

_LOOK = 16
_NAME_MAX = 255
_PATH_MAX = 3000  # of 4096, the rest is for the output folder and the files below


def place(night: Night, known: KnownPath, probed: Probed) -> None:
    """File what the probe found: a new track, a duplicate, or a source that has moved."""
    files = night.ledger.files
    track = files.track_of(probed.sha256)
    if track is None:
        folder = _free_folder(night, known.path, probed.sha256)
        files.add_track(
            night.run_id, known.id, probed, folder, night.planned(), stages=night.wanted
        )
        return
    folder = track.folder
    if not _lives(night, track):
        folder = _free_folder(night, known.path, track.sha256, mover=track)
        night.lock.check()
        move_track(night.out, track.folder, folder)
        if folder != track.folder:
            night.tell("moved", sha256=track.sha256, to=night.shown(known.path))
    files.link(night.run_id, known.id, track, folder, probed, stages=night.wanted)
    if folder != track.folder:
        night.ledger.commit_so_far()


def _lives(night: Night, track: KnownTrack) -> bool:
    """Say whether one of the track's files still is where it was.

    A few at a time, and first the one that was placed last: each further copy of a content asks
    this, and a content may have many thousand copies, all of them moved together.
    """
    newest = night.ledger.files.paths_of(track.id, limit=_LOOK)
    while newest:
        if any(is_there(night, known) for known in newest):
            return True
        newest = night.ledger.files.paths_of(track.id, limit=_LOOK, before=newest[-1].id)
    return False


def is_there(night: Night, known: KnownPath) -> bool:
    """Say whether a file is there as the ledger knows it."""
    path = os.path.join(os.fsencode(night.config.dataset), known.path)
    try:
        stat = os.stat(path)
    except OSError:
        return False
    size, mtime_ns, _, inode = identity(stat)
    return (size, mtime_ns, inode) == (known.size_bytes, known.mtime_ns, known.inode)


def is_gone(night: Night, known: KnownPath) -> bool:
    """Say whether a file is gone for certain: a folder that cannot be read proves nothing."""
    try:
        os.stat(os.path.join(os.fsencode(night.config.dataset), known.path))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _free_folder(
    night: Night, path: bytes, sha256: str, *, mover: KnownTrack | None = None
) -> bytes:
    """Return the folder for a track first seen at `path`.

    A track that has it although its file is there no more, makes room under a name of its own.
    """
    wanted = path if _fits(path) else _short(path, sha256)
    holder = night.ledger.files.track_in(wanted)
    if holder is None or (mover is not None and holder.id == mover.id):
        return wanted
    if holder.folder == wanted and not _lives(night, holder):
        aside = _short(wanted, holder.sha256)
        night.lock.check()
        move_track(night.out, holder.folder, aside)
        night.ledger.files.rehouse(holder.id, aside)
        night.ledger.commit_so_far()
        return wanted
    return _short(path, sha256)


def _fits(path: bytes) -> bool:
    return len(path) <= _PATH_MAX and all(len(name) <= _NAME_MAX for name in path.split(b"/"))


def _short(path: bytes, sha256: str) -> bytes:
    """Return `<path>~<8 hex>`, cut where the file system would refuse it."""
    mark = b"~" + sha256[:8].encode()
    if len(path) > _PATH_MAX:
        return b"~long/" + sha256.encode()
    head, slash, name = path.rpartition(b"/")
    return head + slash + name[: _NAME_MAX - len(mark)] + mark


def clear_replaced(night: Night) -> None:
    """Put the outputs of contents that were replaced into the trash; call when all is probed.

    Only a run that looked at everything knows what was replaced: behind a filter the same content
    may live on under another name.
    """
    config = night.config
    if config.include or config.exclude or config.names is not None:
        return
    for track in night.ledger.files.replaced():
        night.lock.check()
        trash_track(night.out, track.folder)
        night.ledger.files.drop_track(track.id)
        night.ledger.commit_so_far()
        night.tell("replaced", sha256=track.sha256, folder=night.shown(track.folder))
