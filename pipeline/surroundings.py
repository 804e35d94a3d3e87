"""What a run needs of the place where it writes, checked before anything is started."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import Unfit

# SQLite's WAL needs shared memory and flock needs the kernel: over a network neither can be relied
# on, and a ledger that is torn is worse than none.
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs",
    "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.glusterfs", "fuse.cephfs", "fuse.davfs",
}  # fmt: skip


def check(out: Path, *, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Refuse an output folder on a network file system, or one that cannot be written.

    Raises:
        Unfit: says what and where.
    """
    there = out
    while not there.exists():
        there = there.parent
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
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    wanted = path.resolve()
    best, kind = -1, None
    for line in lines:
        _, point, found, *_ = line.split(" ")
        point = point.encode("latin-1", "surrogateescape").decode("unicode_escape")
        if wanted.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), found
    return kind
