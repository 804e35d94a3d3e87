"""The stems of a track to files, in blocks as they come: never clipped, in constant memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.encoders import Encoders, Work
from stages.full_scale import Fall, clipping, exponent_for, falls
from stages.stem_files import StemFile, open_stem
from stages.stem_formats import StemFormat


@dataclass(frozen=True)
class WrittenStems:
    """`gain`: the factor all stems were multiplied by. `peak`: of each stem, before that.

    `over_full_scale`: samples that would have been clipped without a gain, over all stems.
    """

    gain: float
    peak: dict[str, float]
    over_full_scale: int


class StemWriter:
    """Writes `<name><suffix>` for every stem of one track.

    One gain for all stems, a power of two, so that they still add up: 1 unless a sample leaves the
    format's range, and always 1 for WAV, whose floats have none. Divide what is read back by it to
    get the stems' values: within half a step of the format, and what was written before the gain
    fell within one.

    Args:
        folder: exists; other files of it are left alone.
        names: of the stems, in the order of their samples.
        sample_rate_hz: of the stems. Opus and MP3 are stored at `stored_rate_hz`.
        format: of all files.
        encoders: who encodes; without them it is the calling thread. The files are the same.

    Raises:
        OSError: a file cannot be opened.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        sample_rate_hz: int,
        format: StemFormat = "flac24",
        encoders: Encoders | None = None,
    ) -> None:
        self._names = tuple(names)
        # What a writer without a gain clips at 24 bits is counted for WAV too.
        self._bits = 16 if format == "flac16" else 24
        self._has_gain = format != "wav32f"
        self._exponent = 0
        self._extremes = np.zeros((len(names), 2))
        self._over_full_scale = 0
        self._written: WrittenStems | None = None
        self._work = Work(encoders or Encoders(0), len(names))
        self._files: list[StemFile] = []
        try:
            for name in names:
                self._files.append(
                    open_stem(
                        folder,
                        name,
                        format=format,
                        sample_rate_hz=sample_rate_hz,
                        stop=self._work.stopped,
                    )
                )
        except BaseException:
            self.discard()
            raise

    def write(self, stems: NDArray[np.float32], peaks: NDArray[np.floating] | None = None) -> None:
        """Append a block of all stems; blocks while the encoders hold too much.

        Args:
            stems: shape `(names, 2, samples)`, finite, may exceed ±1. The writer's own from here on.
            peaks: lowest and highest sample of each stem, shape `(names, 2)`; found here if absent.

        Raises:
            OSError: a file could not be written, in a block before this one.
            ValueError: a sample is not finite.
        """
        self._check_open()
        self._work.check()
        if not stems.shape[2]:
            return
        extremes = _extremes(stems) if peaks is None else np.asarray(peaks, dtype=np.float64)
        for name, ends in zip(self._names, extremes, strict=True):
            if not np.isfinite(ends).all():
                raise ValueError(f"{name} has samples that are not finite")
        found = self._falls(stems, extremes)
        self._work.put(
            [
                partial(file.write, samples, found)
                for file, samples in zip(self._files, stems, strict=True)
            ],
            held_bytes=stems.nbytes,
        )

    def finish(self) -> WrittenStems:
        """Wait for all blocks, complete the files, and say what was written.

        Raises:
            OSError: a file could not be written. All of them are deleted then.
        """
        if self._written is not None:
            return self._written
        self._check_open()
        self._work.put([file.finish for file in self._files])
        self._work.wait()
        if self._work.failed:
            self.discard()
        self._check_open()
        peaks = np.abs(self._extremes).max(axis=1)
        self._written = WrittenStems(
            2.0**-self._exponent,
            dict(zip(self._names, peaks.tolist(), strict=True)),
            self._over_full_scale,
        )
        return self._written

    def discard(self) -> None:
        """Stop and delete what was begun. Never raises; does nothing after `finish` has returned."""
        if self._written is not None:
            return
        self._work.stopped.set()
        self._work.wait()
        for file in self._files:
            file.discard()

    def _check_open(self) -> None:
        if self._written is not None or self._work.stopped.is_set():
            self._work.check()
            raise ValueError("the stems are finished or discarded already: begin a new writer")

    def _falls(self, stems: NDArray[np.float32], extremes: NDArray[np.float64]) -> Sequence[Fall]:
        """Take note of a block's extremes, and return where the gain has to fall."""
        np.minimum(self._extremes[:, 0], extremes[:, 0], out=self._extremes[:, 0])
        np.maximum(self._extremes[:, 1], extremes[:, 1], out=self._extremes[:, 1])
        needed = exponent_for(extremes[:, 0].min(), extremes[:, 1].max(), bits=self._bits)
        if needed:
            self._over_full_scale += int(np.count_nonzero(clipping(stems, bits=self._bits)))
        if not self._has_gain or needed <= self._exponent:
            return ()
        found = falls(stems, bits=self._bits, exponent=self._exponent)
        self._exponent = found[-1].exponent if found else self._exponent
        return found


def _extremes(stems: NDArray[np.float32]) -> NDArray[np.float64]:
    ends = (stems.min(axis=(1, 2)), stems.max(axis=(1, 2)))
    return np.stack(ends, axis=1).astype(np.float64)
