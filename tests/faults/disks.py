"""File systems for faults: one that can lose its power, one that is small."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path

_EXT4_IOC_SHUTDOWN = 0x8004587D
_NOLOGFLUSH = 2
_IMAGES = Path("/dev/shm")


def sh(*command: str) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


class Disk:
    """An ext4 in a file, mounted on a folder.

    `cut` is a power cut: whatever was not synced is gone (xfstests' `godown`). It models a disk on
    which writes that reached the block layer are durable and whole; no torn sectors, no reordering.
    """

    def __init__(self, folder: Path, *, like: Disk | None = None, megabytes: int = 48) -> None:
        self.folder = folder
        self._image = _IMAGES / f"nightshift-{os.getpid()}-{folder.name}.img"
        folder.mkdir(parents=True)
        if like is not None:
            sh("cp", "--sparse=always", str(like._image), str(self._image))
        else:
            with self._image.open("wb") as image:
                image.truncate(megabytes << 20)
            sh("mkfs.ext4", "-q", "-F", str(self._image))
        self.mount()

    def mount(self) -> None:
        """Mount it, and replay its journal."""
        sh("mount", "-o", "loop", str(self._image), str(self.folder))

    def unmount(self) -> None:
        """Take it away; what uses it must have ended."""
        end = time.monotonic() + 5
        while subprocess.run(
            ["umount", str(self.folder)], capture_output=True, check=False
        ).returncode:
            assert time.monotonic() < end, f"{self.folder} stays busy"
            time.sleep(0.01)  # the last process is dead, its files are not closed yet

    def cut(self) -> None:
        """Cut the power; everything that ran must be killed before `mount`."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        finally:
            os.close(descriptor)

    def spoil(self) -> None:
        """Take away the second half of the disk under the mounted file system: reads fail there."""
        os.truncate(self._image, self._image.stat().st_size // 2)
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as caches:
            caches.write("1")

    def remove(self) -> None:
        """Leave nothing behind."""
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)
        self._image.unlink(missing_ok=True)


class SmallDisk:
    """A tmpfs of a certain size, which can be made larger while it is in use."""

    def __init__(self, folder: Path, *, kilobytes: int, inodes: int = 0) -> None:
        self.folder = folder
        folder.mkdir()
        options = f"size={kilobytes}k" + (f",nr_inodes={inodes}" if inodes else "")
        sh("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))

    def enlarge(self, *, kilobytes: int = 64 << 10) -> None:
        """Give it room."""
        sh("mount", "-o", f"remount,size={kilobytes}k,nr_inodes=0", str(self.folder))

    def remove(self) -> None:
        """Leave nothing behind."""
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)
