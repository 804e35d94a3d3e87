"""What a script asks of pyloudnorm and SciPy for levels, by the names that our stage gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pyloudnorm
from numpy.typing import NDArray
from scipy.signal import resample_poly

Samples: TypeAlias = NDArray[np.floating]
Values: TypeAlias = "NDArray[np.floating] | float"

LEVELS: dict[str, Callable[[Samples, int], Values]] = {
    "integrated_lufs": lambda x, rate: pyloudnorm.Meter(
        rate, filter_class="DeMan"
    ).integrated_loudness(x),
    "loudness_range_lu": lambda x, rate: pyloudnorm.Meter(
        rate, filter_class="DeMan"
    ).loudness_range(x),
    "true_peak_dbtp": lambda x, rate: 20 * np.log10(np.abs(resample_poly(x, 4, 1)).max()),
}
