"""The one way from a file to samples: every stage hears the same, sample for sample."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from stages.audio import Audio
from stages.base import Reason, Tick, TrackUnusable, no_tick
from stages.collect import Collector, Ending, Intake, Sink
from stages.containers import id3_bytes, sniff
from stages.ffmpeg import FfmpegSource
from stages.flaws import find_flaw
from stages.headers import read_declared
from stages.limits import DecodeLimits, check_length, check_shape
from stages.mpeg_frames import find_frames
from stages.sndfile import OtherDecoderNeeded, SndfileSource, is_short

__all__ = ["DecodeLimits", "Decoded", "Header", "Reading", "decode", "decode_into", "read_header"]

_HEAD_BYTES = 4096

# The shortest header with audio behind it: less is a header at most.
_MIN_FILE_BYTES = 44

_READ_BYTES = 1 << 20

_DEFAULT_LIMITS = DecodeLimits()

Source = SndfileSource | FfmpegSource
Result = TypeVar("Result")


@dataclass(frozen=True)
class Decoded:
    """One file's samples, and how they were got.

    `flags`, all rare: `truncated`, `damaged` (only when partial files are allowed);
    `length_differs` (an MPEG file's own count of frames is wrong); `no_end` (an Ogg stream without
    its end mark); `chained` (several Ogg streams, joined); `several_streams` (the first was taken).
    """

    audio: Audio
    decoder: str
    codec: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """How one file was decoded, and what came of it. `flags` are those of `Decoded`."""

    frames: int
    sample_rate_hz: int
    channels: int
    decoder: str
    codec: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Header:
    """What a file says of itself. `duration_s` may be an estimate, and None where nothing is said."""

    duration_s: float | None
    sample_rate_hz: int
    channels: int
    codec: str


def decode(path: bytes, *, limits: DecodeLimits = _DEFAULT_LIMITS, tick: Tick = no_tick) -> Decoded:
    """Return all samples of a file, at its own rate and with all its channels.

    libsndfile where it can open the file, else ffmpeg, and only for a container known by its magic
    bytes: ffmpeg would follow a playlist to wherever it points.

    Args:
        limits: checked against the header before anything is allocated, and while decoding.
        tick: called with the seconds done, about every 65,536 frames and at the end.

    Raises:
        TrackUnusable: with every reason there is but `crash`. Nothing else is raised for a file.
    """

    collector = Collector()
    reading = decode_into(path, collector, limits=limits, tick=tick)
    audio = Audio(collector.samples, reading.sample_rate_hz)
    return Decoded(audio, reading.decoder, reading.codec, reading.flags)


def decode_into(
    path: bytes,
    sink: Sink,
    *,
    limits: DecodeLimits = _DEFAULT_LIMITS,
    tick: Tick = no_tick,
    decoder: str | None = None,
) -> Reading:
    """Decode a file as `decode` does, with the same checks, and pass its blocks on as they come.

    Errors come late: most show only when all blocks were passed on.

    Args:
        decoder: of an earlier reading of this file, to begin with: then the sink need not begin
            anew. Flags of a decoder that is left out for it are not found again.

    Raises:
        TrackUnusable: as `decode`. What the sink raises passes through, but for `OSError`
            and `MemoryError`, which are taken for the file's.
    """

    def whole(source: Source) -> Reading:
        return _read(source, sink, limits, tick)

    return _with_source(path, limits, whole, decoder=decoder)


def read_header(path: bytes, *, limits: DecodeLimits = _DEFAULT_LIMITS) -> Header:
    """Return what a file says of itself, without decoding it.

    Raises:
        TrackUnusable: as `decode`, for what a header alone can show.
    """

    def header(source: Source) -> Header:
        return _header(source, limits)

    return _with_source(path, limits, header)


def _with_source(
    path: bytes,
    limits: DecodeLimits,
    use: Callable[[Source], Result],
    *,
    decoder: str | None = None,
) -> Result:
    with _as_track_unusable(), _regular_file(path) as fd:
        head = os.pread(fd, _HEAD_BYTES, 0)
        _check_declared(fd, head)
        flags: tuple[str, ...] = ()
        if decoder in (None, SndfileSource.decoder):
            try:
                with contextlib.closing(SndfileSource(fd, head)) as sndfile:
                    return _used(fd, sndfile, use)
            except OtherDecoderNeeded as needed:
                flags = needed.flags
        container = _known_container(fd, head)
        flaw = find_flaw(fd, container)
        ffmpeg = FfmpegSource(path, container, limits, flags=flags, flaw=flaw)
        with contextlib.closing(ffmpeg):
            return _used(fd, ffmpeg, use)


def _used(fd: int, source: Source, use: Callable[[Source], Result]) -> Result:
    try:
        return use(source)
    except TrackUnusable as error:
        # Decoders call a bad sector a damaged or a short file.
        if error.reason in (Reason.DAMAGED, Reason.TRUNCATED):
            _read_through(fd)
        raise


def _read_through(fd: int) -> None:
    offset = 0
    while piece := os.pread(fd, _READ_BYTES, offset):
        offset += len(piece)


@contextlib.contextmanager
def _as_track_unusable() -> Iterator[None]:
    try:
        yield
    except ConnectionError:
        raise  # `tick` lost whom it reports to: not this track's fault
    except OSError as error:
        detail = f"{error.strerror or error} (errno {error.errno})"
        raise TrackUnusable(Reason.IO, detail) from error
    except MemoryError as error:
        detail = "not enough memory for its samples; free some, or lower the limit on duration"
        raise TrackUnusable(Reason.MEMORY, detail) from error


@contextlib.contextmanager
def _regular_file(path: bytes) -> Iterator[int]:
    # O_NONBLOCK: a FIFO named a.wav must not wait for a writer.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            kind = stat.filemode(status.st_mode)
            raise TrackUnusable(Reason.NOT_AUDIO, f"not a regular file ({kind})")
        if status.st_size == 0:
            raise TrackUnusable(Reason.EMPTY, "0 bytes")
        yield fd
    finally:
        os.close(fd)


def _check_declared(fd: int, head: bytes) -> None:
    """Refuse a WAV header's nonsense by its value, before a decoder says something vaguer."""
    declared = read_declared(fd, sniff(head))
    if declared.sample_rate_hz is not None and declared.channels is not None:
        check_shape(declared.sample_rate_hz, declared.channels)
    if declared.sample_bits == 0:
        raise TrackUnusable(Reason.BAD_HEADER, "0 bits per sample")


def _known_container(fd: int, head: bytes) -> str:
    container = sniff(head)
    if container is None and find_frames(head) is not None:
        container = "mpeg"  # behind junk: what a tag was cut out of, or a stream tapped midway
    if container is None:
        raise TrackUnusable(Reason.NOT_AUDIO, _beginning(head))
    size = os.fstat(fd).st_size
    if size < _MIN_FILE_BYTES:
        raise TrackUnusable(Reason.EMPTY, f"{size} bytes, not even a whole {container} header")
    _check_tag(id3_bytes(head), size)
    return container


def _beginning(head: bytes) -> str:
    """Return words for first bytes that nobody knows."""
    tag = id3_bytes(head)
    if tag:
        return f"behind its ID3 tag stands no audio that is known: {head[tag:][:16]!r}"
    return f"no audio format that is known starts with {head[:16]!r}"


def _check_tag(tag_bytes: int, size: int) -> None:
    """Refuse a file that ends in or with its tag, where a decoder only finds no audio."""
    if tag_bytes > size:
        lengths = f"its ID3 tag alone should have {tag_bytes} bytes, the file has {size}"
        raise TrackUnusable(Reason.TRUNCATED, lengths)
    if tag_bytes == size:
        raise TrackUnusable(Reason.EMPTY, f"nothing follows its ID3 tag of {tag_bytes} bytes")


def _header(source: Source, limits: DecodeLimits) -> Header:
    check_shape(source.sample_rate_hz, source.channels)
    if source.expected_frames == 0:
        raise TrackUnusable(Reason.EMPTY, "0 samples")
    if source.duration_s is not None and source.length_is_known:
        check_length(
            int(source.duration_s * source.sample_rate_hz),
            limits,
            sample_rate_hz=source.sample_rate_hz,
            channels=source.channels,
        )
    return Header(source.duration_s, source.sample_rate_hz, source.channels, source.codec)


def _read(source: Source, sink: Sink, limits: DecodeLimits, tick: Tick) -> Reading:
    _header(source, limits)
    intake = Intake(
        sink,
        sample_rate_hz=source.sample_rate_hz,
        channels=source.channels,
        expected_frames=source.expected_frames,
        limits=limits,
        tick=tick,
    )
    ending = source.read_into(intake)
    flags = (*_judged(ending, intake, limits), *ending.flags)
    intake.finish()
    return Reading(
        intake.frames, intake.sample_rate_hz, intake.channels, source.decoder, source.codec, flags
    )


def _judged(ending: Ending, intake: Intake, limits: DecodeLimits) -> tuple[str, ...]:
    """Return the flags that a partial file gets, none for a whole one.

    Raises:
        TrackUnusable: it is not whole and that is not allowed, or there is nothing at all.
    """
    problem = _problem(ending, intake.duration_s)
    if problem is None and intake.frames == 0:
        raise TrackUnusable(Reason.EMPTY, "0 samples")
    if problem is None:
        return ()
    partial = problem.reason in (Reason.TRUNCATED, Reason.DAMAGED)
    if limits.allow_partial and partial and intake.frames:
        return (problem.reason.value,)
    raise problem


def _problem(ending: Ending, duration_s: float) -> TrackUnusable | None:
    promised_s = ending.promised_s
    if promised_s is not None and ending.reached_end and is_short(duration_s, promised_s):
        lengths = f"{duration_s:.3f} s of the {promised_s:.3f} s that its header promises"
        detail = f"{lengths}; {ending.trouble}" if ending.trouble else lengths
        return TrackUnusable(Reason.TRUNCATED, detail)
    return TrackUnusable(ending.reason, ending.trouble) if ending.trouble else None
