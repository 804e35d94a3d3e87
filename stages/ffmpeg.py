"""The second choice of decoders: ffmpeg as a subprocess, kept on a short lead."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.base import Reason, TrackUnusable
from stages.collect import Ending, Intake
from stages.ffmpeg_log import FfmpegLog
from stages.flaws import Flaw
from stages.limits import DecodeLimits

# Demuxers that hold audio and open nothing else: no playlist (hls, concat, sdp, dash, ...) is here,
# also when one hides behind an ID3 tag.
_DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,caf,dsf,dts,dtshd,eac3,flac,iff,matroska,mov,mp3,mpc,mpc8,ogg,tak,"
    "tta,voc,w64,wav,wv"
)

# No byte for so long: ffmpeg hangs. It decodes hundreds of seconds in one, the disk may be slow.
STALL_S = 120.0

# ffmpeg needs about 300 MB of address space for an audio file. The CPU limit is for endless loops:
# APE at its slowest setting decodes some ten times faster than it plays.
_ADDRESS_BYTES = 2 * 2**30
_CPU_BASE_S, _CPU_PER_AUDIO_S = 60, 0.25
_FILE_BYTES = 0  # it writes into a pipe, never into a file

_READ_BYTES = 1 << 20

# A pipe gives some 24 kB at a time: too little for what is done with each block, and by chance.
_BLOCK_FRAMES = 65_536

_AU_HEADER_BYTES = 24
_MAX_AU_HEADER_BYTES = 1 << 16

# Their headers give an exact length. ASF and Matroska give the longest stream's, or an estimate.
_TRUSTED_LENGTH = ("mp4", "wavpack", "ape", "tta")


@dataclass(frozen=True)
class Ffmpeg:
    """An ffmpeg that runs here."""

    path: str
    version: str


@functools.cache
def find_ffmpeg() -> Ffmpeg | None:
    """Return the system's ffmpeg, else the one that imageio-ffmpeg brings, else None.

    Each is asked for its version once per process.
    """
    for candidate in filter(None, (shutil.which("ffmpeg"), _bundled())):
        version = _version(candidate)
        if version is not None:
            return Ffmpeg(candidate, version)
    return None


def _bundled() -> str | None:
    # imageio_ffmpeg.get_ffmpeg_exe() would start each binary to try it.
    spec = importlib.util.find_spec("imageio_ffmpeg")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for binary in sorted(Path(place, "binaries").glob("ffmpeg-*")):
            if os.access(binary, os.X_OK):
                return str(binary)
    return None


def _version(binary: str) -> str | None:
    try:
        answer = subprocess.run(
            [binary, "-version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = answer.stdout[:200].decode(errors="replace").split()
    return words[2] if answer.returncode == 0 and words[:2] == ["ffmpeg", "version"] else None


class FfmpegSource:
    """A file that ffmpeg is decoding. `close` ends the process.

    Args:
        path: of a regular file whose magic bytes are those of `container`.
        flags: what is already known of it.
        flaw: what the container's own structure shows.

    Raises:
        TrackUnusable: ffmpeg is missing, or gives no audio for this file.
        OSError: the file cannot be read.
    """

    expected_frames: int | None = None

    def __init__(
        self,
        path: bytes,
        container: str,
        limits: DecodeLimits,
        *,
        flags: tuple[str, ...] = (),
        flaw: Flaw | None = None,
    ) -> None:
        ffmpeg = find_ffmpeg()
        if ffmpeg is None:
            raise TrackUnusable(
                Reason.UNSUPPORTED,
                f"{container} needs ffmpeg, and there is none. Install it (apt install ffmpeg)",
            )
        self.decoder = f"ffmpeg {ffmpeg.version}"
        self._path = path
        self._container = container
        self._flags = flags
        self._flaw = flaw
        self._log = FfmpegLog(path)
        self._process = _start(ffmpeg, path, limits)
        try:
            assert self._process.stdout  # both are pipes, as `_start` asked for
            assert self._process.stderr
            self._stdout = self._process.stdout
            self._log.listen(self._process.stderr)
            self.sample_rate_hz, self.channels = self._read_au_header()
            self._log.wait_for_input()
            self._log.refuse_protected(container)
        except BaseException:
            self.close()
            raise

    @property
    def codec(self) -> str:
        """Name of the codec, as ffmpeg calls it."""
        return self._log.codec or "unknown"

    @property
    def duration_s(self) -> float | None:
        """Length by the container's header, which for some kinds is an estimate."""
        return self._log.duration_s

    @property
    def length_is_known(self) -> bool:
        """Whether `duration_s` is exact and this stream's own."""
        return self._container in _TRUSTED_LENGTH and self._log.only_audio

    def close(self) -> None:
        """End the process, whatever it is doing, and reap it."""
        self._process.kill()
        self._process.wait()
        self._stdout.close()
        self._log.close()

    def read_into(self, intake: Intake) -> Ending:
        """Decode everything into `intake`.

        Raises:
            TrackUnusable: the limits are exceeded, or ffmpeg hangs.
            OSError: the file cannot be read.
        """
        frame_bytes = 4 * self.channels
        waiting = bytearray()
        for piece in self._pieces():
            waiting += piece
            while len(waiting) >= _BLOCK_FRAMES * frame_bytes:
                intake.add(self._taken(waiting, _BLOCK_FRAMES))
        intake.add(self._taken(waiting, len(waiting) // frame_bytes))
        return self._ending()

    def _taken(self, waiting: bytearray, frames: int) -> NDArray[np.float32]:
        values = frames * self.channels
        block = np.frombuffer(waiting, ">f4", values).astype(np.float32)
        del waiting[: 4 * values]
        return block.reshape(frames, self.channels)

    def _ending(self) -> Ending:
        self._finish()
        several = ("several_streams",) if self._log.audio_streams > 1 else ()
        trouble, reason = self._trouble(), self._log.reason
        flaw = self._flaw_behind(trouble)
        if flaw is not None:
            trouble, reason = flaw.detail, flaw.reason
        return Ending(
            promised_s=self.duration_s if self.length_is_known else None,
            trouble=trouble,
            reason=reason,
            # An MP4 that is whole and gives too little was damaged in the middle.
            reached_end=self._container != "mp4" or reason is Reason.TRUNCATED or not trouble,
            flags=(*self._flags, *several),
        )

    def _flaw_behind(self, trouble: str | None) -> Flaw | None:
        """Return the flaw that explains how decoding went, rather than what ffmpeg says of it."""
        flaw = self._flaw
        if flaw is None or self._log.reason not in (Reason.DAMAGED, Reason.TRUNCATED):
            return None
        return flaw if flaw.certain or trouble else None

    def _refusal(self) -> TrackUnusable:
        trouble = self._trouble()
        refusal = self._log.refusal(self._container, trouble)
        flaw = self._flaw_behind(trouble or refusal.detail)
        if flaw is None:
            return refusal
        # What a decoder says of the rest, "no audio stream" for one, would mislead.
        said = f"{refusal.detail}; " if refusal.reason is flaw.reason else ""
        return TrackUnusable(flaw.reason, f"{said}{flaw.detail}")

    def _trouble(self) -> str | None:
        status = self._process.returncode
        if status < 0:
            return f"ffmpeg died: {signal.strsignal(-status)}"
        if self._log.errors:
            return f"errors while decoding: {self._log.errors}, the first: {self._log.first_error}"
        return f"ffmpeg ended with status {status}" if status else None

    def _finish(self) -> None:
        try:
            self._process.wait(STALL_S)
        except subprocess.TimeoutExpired:
            raise _hang() from None
        self._log.wait()
        if self._log.says_io:
            _read_through(self._path)

    def _pieces(self) -> Iterator[bytes]:
        while piece := self._read(_READ_BYTES):
            yield piece

    def _read(self, limit: int) -> bytes:
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        if not poll.poll(STALL_S * 1000):
            raise _hang()
        return os.read(self._stdout.fileno(), limit)

    def _read_exactly(self, count: int) -> bytes:
        gathered = b""
        while len(gathered) < count and (piece := self._read(count - len(gathered))):
            gathered += piece
        return gathered

    def _read_au_header(self) -> tuple[int, int]:
        """Return rate and channels from the header of the AU stream that ffmpeg writes."""
        header = self._read_exactly(_AU_HEADER_BYTES)
        if len(header) < _AU_HEADER_BYTES:
            self._finish()
            self._log.refuse_protected(self._container)
            raise self._refusal()
        magic, header_bytes, _, _, sample_rate_hz, channels = struct.unpack(">4s5I", header)
        if magic != b".snd" or not _AU_HEADER_BYTES <= header_bytes <= _MAX_AU_HEADER_BYTES:
            raise TrackUnusable(Reason.ERROR, f"ffmpeg wrote no AU header but {header!r}")
        self._read_exactly(header_bytes - _AU_HEADER_BYTES)
        return sample_rate_hz, channels


def _read_through(path: bytes) -> None:
    """Read a file to its end: demuxers speak of an I/O error where nothing but the file is broken."""
    with open(path, "rb", buffering=0) as file:
        while file.read(_READ_BYTES):
            pass


def _hang() -> TrackUnusable:
    return TrackUnusable(Reason.HANG, f"ffmpeg gave nothing for {STALL_S:g} s and was ended")


def _start(ffmpeg: Ffmpeg, path: bytes, limits: DecodeLimits) -> subprocess.Popen[bytes]:
    """Start ffmpeg in the caller's process group, so that whoever kills that kills it too."""
    # One second more than allowed, so that too long a file is seen to be that.
    options = (
        "-nostdin -hide_banner -nostats -loglevel level+info"
        f" -protocol_whitelist file,pipe -format_whitelist {_DEMUXERS} -threads 1"
    )
    output = (
        "-map 0:a:0 -map_metadata -1 -vn -sn -dn"
        f" -t {limits.max_duration_s + 1:.3f} -f au -c:a pcm_f32be pipe:1"
    )
    process = subprocess.Popen(
        [ffmpeg.path, *options.split(), "-i", b"file:" + path, *output.split()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _restrict(process.pid, limits)
    return process


def _restrict(pid: int, limits: DecodeLimits) -> None:
    # From here and not in a preexec_fn, which is unsafe in a process with threads.
    if sys.platform != "linux":
        return
    cpu_s = int(_CPU_BASE_S + limits.max_duration_s * _CPU_PER_AUDIO_S)
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_AS, (_ADDRESS_BYTES, _ADDRESS_BYTES))
        resource.prlimit(pid, resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (_FILE_BYTES, _FILE_BYTES))
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
