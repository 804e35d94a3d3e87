"""What a run needs of the place where it writes, checked before anything is started."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pipeline.errors import Unfit

# SQLite's WAL needs shared memory and flock needs the kernel: over a network neither can be relied
# on, and a ledger that is torn is worse than none.
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs",
    "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.glusterfs", "fuse.cephfs", "fuse.davfs", "fuse.gcsfuse", "fuse.juicefs", "fuse.mount-s3", "fuse.goofys",
    "fuse.curlftpfs",
}  # fmt: skip


_ESCAPED = re.compile(rb"\\([0-7]{3})")


def check(out: Path, *, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Refuse an output folder on a network file system, or one that cannot be written.

    Raises:
        Unfit: says what and where.
    """
    there = existing(out)
    kind = file_system(there, mounts=mounts)
    if kind in _NETWORK:
        raise Unfit(
            f"{out} is on a network file system ({kind}), where a ledger does not survive a crash. "
            "Name an output folder on a local disk with --out; the audio may stay where it is."
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise Unfit(
            f"{there} cannot be written by this user. Mend its rights, or name another --out."
        )


def file_system(path: Path, *, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Return the type of the file system that holds a path, None where it cannot be told."""
    try:
        lines = mounts.read_bytes().split(b"\n")
    except OSError:
        return None
    wanted = path.resolve()
    best, kind = -1, None
    for line in lines:
        fields = line.split(b" ")
        if len(fields) < 3:
            continue
        point = os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), fields[1]))
        # Of two at one point the later one lies on top.
        if wanted.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), os.fsdecode(fields[2])
    return kind


def existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it that is there.

    Raises:
        Unfit: a folder on the way may not be entered.
    """
    try:
        while not path.exists():
            path = path.parent
    except OSError as error:
        raise Unfit(
            f"{path} cannot be entered by this user ({error.strerror}). Mend its rights, or name another --out."
        ) from error
    return path
