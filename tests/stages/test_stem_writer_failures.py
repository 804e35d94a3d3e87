"""What goes wrong while stems are written, what is left of it, and how much memory it takes."""

from __future__ import annotations

import errno
import os
import resource
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from stages.encoders import Encoders, Work
from stages.stem_formats import StemFormat
from stages.stem_writer import StemWriter
from tests.stages.noise_stems import NAMES, RATE_HZ, files, noise, read_back, stems_of_noise, write

# ---- memory


def test_an_hour_of_stems_does_not_grow_the_memory(tmp_path: Path) -> None:
    # At 2 kHz: 7.2 million frames of noise, 75 MiB of FLAC. The last block has all of it scaled.
    block = np.stack([noise(60_000, peak=0.9, seed=seed) for seed in range(2)])

    with Encoders(2, held_bytes=4 << 20) as encoders:
        writer = StemWriter(tmp_path, NAMES, sample_rate_hz=2_000, encoders=encoders)
        for number in range(120):
            if number == 30:
                before_bytes = _forget_peak_memory()
            writer.write(block)  # never changed, so that it can be given twice
        writer.write(block * 2)
        written = writer.finish()

    assert written.gain == 0.5
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 70 << 20
    assert _peak_memory_bytes() - before_bytes < 16 << 20


def _forget_peak_memory() -> int:
    """Begin a new peak; return the memory in use."""
    Path("/proc/self/clear_refs").write_text("5")
    return int(psutil.Process().memory_info().rss)


def _peak_memory_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


# ---- what goes wrong


def _full(folder: Path, name: str) -> None:
    """Let every write to this file find the disk full."""
    (folder / name).symlink_to("/dev/full")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    _full(tmp_path, "drums.flac")

    with pytest.raises(OSError, match=r"No space left on device.*drums\.flac"):
        write(tmp_path, noise(1_000, peak=0.5)[None])


@pytest.mark.parametrize(
    ("format", "file"),
    [
        ("flac24", "vocals.flac"),
        ("flac24", ".vocals.flac.new"),
        ("flac16", "vocals.flac"),
        ("wav32f", "vocals.wav"),
        ("opus", "vocals.opus"),
        ("opus", ".vocals.opus.flac"),
        ("mp3", "vocals.mp3"),
        ("mp3", ".vocals.mp3.flac"),
        ("mp3", "..vocals.mp3.flac.new"),
    ],
)
@pytest.mark.parametrize("threads", [0, 2])
def test_a_full_disk_fails_its_track_alone(
    tmp_path: Path, format: StemFormat, file: str, threads: int
) -> None:
    stems = stems_of_noise(24_000, {13_000: 1.5})
    whole = write(tmp_path / "alone", stems, format=format)
    folders = [tmp_path / name for name in ("good", "bad", "other")]
    for folder in folders:
        folder.mkdir()
    _full(folders[1], file)

    with Encoders(threads) as encoders:
        good, bad, other = (
            StemWriter(folder, NAMES, sample_rate_hz=RATE_HZ, format=format, encoders=encoders)
            for folder in folders
        )
        told: list[int | None] = []
        for start in range(0, 24_000, 5_000):
            block = stems[:, :, start : start + 5_000]
            good.write(block.copy())
            try:
                bad.write(block.copy())
            except OSError as error:
                told.append(error.errno)
            other.write(block.copy())
        with pytest.raises(OSError, match="No space left") as caught:
            bad.finish()
        assert good.finish() == other.finish() == whole

    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == os.fspath(folders[1] / file)
    assert {*told} <= {errno.ENOSPC}
    assert list(folders[1].iterdir()) == []
    if format != "opus":  # its serial number is random
        assert files(folders[0]) == files(folders[2]) == files(tmp_path / "alone")


@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize("format", ["flac24", "wav32f", "mp3"])
def test_a_disk_that_fills_is_told_before_the_end(
    tmp_path: Path, format: StemFormat, threads: int
) -> None:
    block = stems_of_noise(200_000)
    taken: list[int] = []

    def write_them_all() -> None:
        for number in range(20):
            writer.write(block)
            taken.append(number)

    with Encoders(threads, held_bytes=1) as encoders:
        writer = StemWriter(
            tmp_path, NAMES, sample_rate_hz=RATE_HZ, format=format, encoders=encoders
        )
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, before[1]))
        try:
            with pytest.raises(OSError, match="File too large") as caught:
                write_them_all()
            with pytest.raises(OSError, match="File too large"):
                writer.write(block)
            writer.discard()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert caught.value.errno == errno.EFBIG
    assert 0 < len(taken) < 8
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["flac24", "opus"])
def test_a_disk_that_fills_while_the_gain_falls_is_told(tmp_path: Path, format: StemFormat) -> None:
    temporary = {"flac24": ".vocals.flac.new", "opus": "..vocals.opus.flac.new"}[format]
    _full(tmp_path, temporary)
    open_before = psutil.Process().num_fds()
    writer = StemWriter(tmp_path, NAMES, sample_rate_hz=RATE_HZ, format=format)
    writer.write(stems_of_noise(250_000))  # more than is buffered

    writer.write(stems_of_noise(10, {0: 1.5}))

    for _ in range(2):
        with pytest.raises(OSError, match="No space left") as caught:
            writer.finish()
    assert caught.value.filename == os.fspath(tmp_path / temporary)
    assert list(tmp_path.iterdir()) == []
    assert psutil.Process().num_fds() == open_before


def test_a_folder_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        StemWriter(tmp_path / "none", NAMES, sample_rate_hz=RATE_HZ)


def test_a_second_file_that_cannot_be_opened_takes_the_first_with_it(tmp_path: Path) -> None:
    (tmp_path / "vocals.flac").mkdir()

    with pytest.raises(IsADirectoryError):
        StemWriter(tmp_path, NAMES, sample_rate_hz=RATE_HZ)

    assert [path.name for path in tmp_path.iterdir()] == ["vocals.flac"]


# ---- discard


@pytest.mark.parametrize("format", ["flac24", "wav32f", "opus", "mp3"])
@pytest.mark.parametrize("threads", [0, 2])
def test_a_discarded_track_leaves_nothing(tmp_path: Path, format: StemFormat, threads: int) -> None:
    open_before = psutil.Process().num_fds()

    with Encoders(threads) as encoders:
        writer = StemWriter(
            tmp_path, NAMES, sample_rate_hz=RATE_HZ, format=format, encoders=encoders
        )
        for _ in range(5):
            writer.write(stems_of_noise(50_000, {9: 1.5}))
        writer.discard()
        writer.discard()
        with pytest.raises(ValueError, match="finished or discarded"):
            writer.write(stems_of_noise(10))
        with pytest.raises(ValueError, match="finished or discarded"):
            writer.finish()

    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encoder")]
    assert psutil.Process().num_fds() == open_before


def test_discard_after_finish_keeps_the_files(tmp_path: Path) -> None:
    writer = StemWriter(tmp_path, NAMES, sample_rate_hz=RATE_HZ)
    writer.write(stems_of_noise(1_000))
    written = writer.finish()

    writer.discard()

    assert writer.finish() == written
    assert [read_back(path).shape for path in tmp_path.iterdir()] == [(2, 1_000)] * 2
    with pytest.raises(ValueError, match="finished or discarded"):
        writer.write(stems_of_noise(1_000))


def test_discard_does_not_mind_files_that_are_gone(tmp_path: Path) -> None:
    writer = StemWriter(tmp_path, NAMES, sample_rate_hz=RATE_HZ)
    writer.write(stems_of_noise(1_000))
    (tmp_path / "drums.flac").unlink()

    writer.discard()

    assert list(tmp_path.iterdir()) == []


def test_a_track_discarded_while_it_ends_is_not_called_written(tmp_path: Path) -> None:
    gate, begun, told = threading.Event(), threading.Event(), list[Exception]()

    with _TellingEncoders(1) as encoders:
        _block_the_only_thread(encoders, gate, begun)
        writer = StemWriter(tmp_path, NAMES, sample_rate_hz=RATE_HZ, encoders=encoders)
        writer.write(stems_of_noise(1_000))
        encoders.was_put.clear()
        finishing = threading.Thread(target=_keep_error, args=(writer, told))
        finishing.start()
        assert encoders.was_put.wait(10)
        discarding = threading.Thread(target=writer.discard)
        discarding.start()
        assert writer._work.stopped.wait(10)
        gate.set()
        finishing.join(10)
        discarding.join(10)

    assert [type(error) for error in told] == [ValueError]
    assert list(tmp_path.iterdir()) == []


class _TellingEncoders(Encoders):
    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.was_put = threading.Event()

    def put(self, rows: Any, tasks: Any, *, held_bytes: int) -> None:
        super().put(rows, tasks, held_bytes=held_bytes)
        self.was_put.set()


def _keep_error(writer: StemWriter, told: list[Exception]) -> None:
    try:
        writer.finish()
    except Exception as error:
        told.append(error)


def test_discard_stops_what_waits_for_the_threads(tmp_path: Path) -> None:
    with Encoders(1) as encoders:
        gate, begun = threading.Event(), threading.Event()
        _block_the_only_thread(encoders, gate, begun)
        writer = StemWriter(tmp_path, NAMES, sample_rate_hz=RATE_HZ, encoders=encoders)
        for _ in range(50):
            writer.write(stems_of_noise(1_000))
        discarding = threading.Thread(target=writer.discard)
        discarding.start()
        gate.set()
        discarding.join(10)

        assert not discarding.is_alive()
        assert list(tmp_path.iterdir()) == []


def _block_the_only_thread(
    encoders: Encoders, gate: threading.Event, begun: threading.Event
) -> None:
    def wait() -> None:
        begun.set()
        gate.wait(30)

    Work(encoders, 1).put([wait])
    assert begun.wait(10)
