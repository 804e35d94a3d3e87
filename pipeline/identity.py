"""What tells that a file is still the one that was hashed, in numbers that any ledger can hold."""

from __future__ import annotations

import os

Identity = tuple[int, int, int, int]  # size, mtime_ns, ctime_ns, inode


def identity(stat: os.stat_result) -> Identity:
    """Return a file's identity. Its device is left out: that changes when a disk is plugged in anew."""
    return (
        stat.st_size,
        signed(stat.st_mtime_ns),
        signed(stat.st_ctime_ns),
        signed(stat.st_ino),
    )


def signed(number: int) -> int:
    """Return a number wrapped to 64 bits with sign, which times beyond 2262 and some inodes exceed."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
