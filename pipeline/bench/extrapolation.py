"""What work on many files would take, by what it took on a few. Numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Observation:
    """What a way took for some files of so much audio in all."""

    files: int
    audio_s: float
    wall_s: float


@dataclass(frozen=True)
class Cost:
    """Seconds that a way takes: once, for each file, and for each second of audio."""

    start_s: float
    per_file_s: float
    per_audio_s: float

    def of(self, files: int, audio_s: float) -> float:
        """Return what so many files of so much audio in all would take."""
        return self.start_s + self.per_file_s * files + self.per_audio_s * audio_s

    def through(self, seen: Observation) -> Cost:
        """Return the cost that gives exactly what was seen: what comes after the start is scaled.

        Where what was seen took no longer than the start, all of it is scaled.
        """
        rest_s = self.of(seen.files, seen.audio_s) - self.start_s
        if rest_s > 0 and seen.wall_s > self.start_s:
            factor = (seen.wall_s - self.start_s) / rest_s
            return replace(
                self, per_file_s=self.per_file_s * factor, per_audio_s=self.per_audio_s * factor
            )
        factor = seen.wall_s / self.of(seen.files, seen.audio_s)
        return Cost(self.start_s * factor, self.per_file_s * factor, self.per_audio_s * factor)


def fit(observations: Sequence[Observation], *, has_start: bool) -> Cost:
    """Return the cost that comes nearest to what was observed, each in parts of what it took.

    None of its numbers is negative: the best of all ways to hold some of them at 0 is taken. What
    the observations cannot tell apart is held at 0 too.

    Args:
        has_start: False for ways that begin anew with every file; theirs is part of each file.

    Raises:
        ValueError: there are no observations, or one of them took no time.
    """
    if not observations or min(one.wall_s for one in observations) <= 0:
        raise ValueError(f"a cost needs observations that took some time, not {observations}")
    rows = [[float(has_start), one.files, one.audio_s] for one in observations]
    # A timing is off by some percent of itself: undivided, the longest would decide alone.
    parts = np.array(rows) / np.array([[one.wall_s] for one in observations])
    return Cost(*_nearest_to_one(parts))


def _nearest_to_one(parts: NDArray[np.float64]) -> list[float]:
    """Return factors of the columns, none negative, whose sum is nearest to 1 in every row."""
    columns = range(parts.shape[1])
    best, best_error = [0.0 for _ in columns], float("inf")
    # From one column to all: a further one must make it better than rounding does, so that of two
    # which say the same only one is taken.
    for count in range(1, len(columns) + 1):
        for chosen in combinations(columns, count):
            found, *_ = np.linalg.lstsq(parts[:, chosen], np.ones(len(parts)))
            error = float(np.square(parts[:, chosen] @ found - 1).sum())
            if found.min() >= 0 and error < best_error - 1e-12:
                best = [0.0 for _ in columns]
                for column, factor in zip(chosen, found, strict=True):
                    best[column] = float(factor)
                best_error = error
    return best
