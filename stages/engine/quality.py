"""What can be said of stems without knowing the true ones."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


class Residual:
    """How far the sum of all stems is from the mix, over a whole track."""

    def __init__(self) -> None:
        self._mix = 0.0
        self._rest = 0.0

    def add(self, mix: NDArray[np.float32], total: NDArray[np.float32]) -> None:
        """Take the next samples of the mix and of the sum of its stems, both `(2, samples)`."""
        self._mix += _energy(mix)
        self._rest += _energy(mix - total)

    @property
    def db(self) -> float | None:
        """Energy of mix minus sum against that of the mix, in dB; None where one of them is 0."""
        if not self._mix or not self._rest:
            return None
        return 10 * math.log10(self._rest / self._mix)


def _energy(samples: NDArray[np.float32]) -> float:
    # float64 blocks: float32 loses quiet passages beside loud ones.
    return float(np.square(samples, dtype=np.float64).sum())
