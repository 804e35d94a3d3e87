"""What each part of a separation takes by itself: reading, computing, writing stems."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.bench.gpu.brief import Row
from pipeline.bench.gpu.formats import FORMATS, allowed
from pipeline.bench.gpu.loaded import Loaded
from pipeline.bench.gpu.tracks import beginnings, separated
from pipeline.bench.gpu.trying import tried
from pipeline.threads import budget
from stages.encoders import Encoders
from stages.engine.compute import Compute
from stages.engine.separator import Failed, Separator
from stages.engine.song import Song
from stages.mix import Mix
from stages.separation import OPENED_AT_ONCE
from stages.stem_formats import StemFormat
from stages.stem_writer import StemWriter

_STEM_FORMATS: tuple[StemFormat, ...] = ("wav32f", "flac24", "flac16", "opus", "mp3")
_READ_S = 1800.0
"""Seconds of music that are read and computed at most."""

_HELD_BYTES = 256 << 20


def measure(loaded: Loaded) -> Iterator[Row]:
    """Give `times_real_time` of each part alone.

    `read`: files decoded and measured, in one thread and in as many as a lane has for it.
    `compute`: from mixes in memory to stems in memory, by format. `write`: stems to files, by file
    format, in `threads`.
    """
    began, mixes = time.perf_counter(), _read(loaded)
    audio_s = sum(mix.duration_s for mix in mixes)
    yield _row("read", audio_s, time.perf_counter() - began, threads=1)
    began = time.perf_counter()
    with ThreadPoolExecutor(OPENED_AT_ONCE) as pool:
        list(pool.map(loaded.mix, range(len(mixes))))
    yield _row("read", audio_s, time.perf_counter() - began, threads=OPENED_AT_ONCE)
    songs = [Song(number, mix) for number, mix in enumerate(mixes)]
    for format in loaded.brief.formats:
        facts = {"kind": "part", "part": "compute", "format": format}
        yield tried(facts, partial(_computed, loaded, format, songs, audio_s))
    (mix,) = beginnings(loaded, 1)
    (stems,) = separated(loaded, [mix], device=loaded.device)
    for threads in sorted({1, budget()}):
        for stem_format in _STEM_FORMATS:
            yield _written(loaded, stems, stem_format, threads)


def _read(loaded: Loaded) -> list[Mix]:
    """Return the first songs, as many as are `_READ_S` together."""
    mixes: list[Mix] = []
    for number in range(len(loaded.brief.files)):
        if sum(mix.duration_s for mix in mixes) >= _READ_S:
            break
        mixes.append(loaded.mix(number))
    return mixes


def _row(part: str, audio_s: float, seconds: float, **more: object) -> Row:
    speed = audio_s / seconds
    return {"kind": "part", "part": part, **more, "seconds": seconds, "times_real_time": speed}


def _computed(loaded: Loaded, format: str, songs: list[Song], audio_s: float) -> Row:
    batch = max(loaded.brief.batches)
    compute = Compute(
        loaded.model.networks,
        device=loaded.device,
        precision=FORMATS[format].precision,
        batch=batch,
    )
    with allowed(FORMATS[format]):
        # What is made and chosen at first use is not the night's.
        compute(0, list(loaded.segments(compute.batch)), batch=compute.batch)
        loaded.wait()
        began = time.perf_counter()
        for event in Separator(loaded.model, compute).separate(songs):
            if isinstance(event, Failed):
                raise event.error
        seconds = time.perf_counter() - began
    return _row("compute", audio_s, seconds, batch=compute.batch)


def _written(
    loaded: Loaded, stems: NDArray[np.float32], stem_format: StemFormat, threads: int
) -> Row:
    """Write the stems of one track as many times over as there are threads: one a track."""
    rate_hz = loaded.model.sample_rate_hz
    # A stem is written in one thread at a time: so many tracks at once keep all threads at work.
    tracks = max(1, threads // len(stems))
    with (
        tempfile.TemporaryDirectory(prefix="nightshift-bench-") as name,
        Encoders(threads, held_bytes=_HELD_BYTES) as encoders,
    ):
        began = time.perf_counter()
        writers = []
        for number in range(tracks):
            folder = Path(name) / str(number)
            folder.mkdir()
            writers.append(
                StemWriter(
                    folder,
                    loaded.model.sources,
                    sample_rate_hz=rate_hz,
                    format=stem_format,
                    encoders=encoders,
                )
            )
        step = rate_hz * 5
        for first in range(0, stems.shape[2], step):
            for writer in writers:
                writer.write(stems[..., first : first + step].copy())
        for writer in writers:
            writer.finish()
        seconds = time.perf_counter() - began
    audio_s = tracks * stems.shape[2] / rate_hz
    return _row("write", audio_s, seconds, format=stem_format, threads=threads)
