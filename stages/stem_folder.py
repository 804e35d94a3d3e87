"""The files of one separated track: its stems as they come, at last what can be said of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from stages.base import Facts, JsonValue
from stages.encoders import Encoders
from stages.engine.separator import Stems
from stages.outputs import Missing, Scalar, write_features
from stages.stem_formats import StemFormat, lossless
from stages.stem_writer import StemWriter, WrittenStems


class StemFolder:
    """Writes the stems of a model, or one of them and the sum of the others.

    Args:
        out: an empty folder.
        stems: what the model gives, in its order.
        two_stems: write this one, and the sum of the others as `no_` of it.
        sample_rate_hz: of the stems.
    """

    def __init__(
        self,
        out: Path,
        stems: Sequence[str],
        *,
        two_stems: str | None,
        sample_rate_hz: int,
        format: StemFormat,
        encoders: Encoders,
    ) -> None:
        self._out = out
        self._format = format
        self._sample_rate_hz = sample_rate_hz
        self._encoders = encoders
        self._kept = None if two_stems is None else list(stems).index(two_stems)
        self._names = tuple(stems) if two_stems is None else (two_stems, f"no_{two_stems}")
        self._writer: StemWriter | None = None

    def write(self, stems: Stems) -> Exception | None:
        """Write the next stems; return what keeps them from being written."""
        try:
            writer = self._opened()
            if self._kept is None:
                writer.write(stems.samples, stems.peaks)
            else:
                writer.write(_two(stems.samples, self._kept))
        except Exception as error:
            return error
        return None

    def finish(self, *, residual_db: float | None) -> Facts:
        """Complete the files and return what can be said of them.

        Raises:
            OSError: one of them could not be written.
        """
        written = self._opened().finish()
        self._write_features(written, residual_db)
        peak: dict[str, JsonValue] = {**written.peak}
        return {
            "gain": written.gain,
            "lossless": lossless(self._format),
            "format": self._format,
            "sources": list(self._names),
            "sample_rate_hz": self._sample_rate_hz,
            "finite": True,  # or it had failed
            "peak": peak,
            "clipping_avoided_samples": written.over_full_scale,
            "residual_db": residual_db,
        }

    def give_up(self, error: Exception) -> NoReturn:
        """Delete what was written, and raise what went wrong."""
        self.discard()
        raise error

    def discard(self) -> None:
        """Delete what was written."""
        if self._writer is not None:
            self._writer.discard()

    def _opened(self) -> StemWriter:
        if self._writer is None:
            self._writer = StemWriter(
                self._out,
                self._names,
                sample_rate_hz=self._sample_rate_hz,
                format=self._format,
                encoders=self._encoders,
            )
        return self._writer

    def _write_features(self, written: WrittenStems, residual_db: float | None) -> None:
        missing = Missing("a source was left out, or mix or residual are silent")
        features: dict[str, dict[str, Scalar]] = {
            "mix": {
                "stems_residual_db": missing if residual_db is None else residual_db,
                "stems_gain": written.gain,
                "stems_clipping_avoided_samples": written.over_full_scale,
            }
        }
        features |= {name: {"model_peak": peak} for name, peak in written.peak.items()}
        write_features(self._out, features)


def _two(stems: NDArray[np.float32], kept: int) -> NDArray[np.float32]:
    """Return one stem and the sum of the others, `(2, 2, samples)`."""
    rest = np.zeros_like(stems[kept])
    for number, stem in enumerate(stems):
        if number != kept:
            rest += stem
    return np.stack([stems[kept], rest])
