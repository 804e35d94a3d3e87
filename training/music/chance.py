"""What is drawn by chance, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Given = TypeVar("Given")


def pick(chance: np.random.Generator, given: Sequence[Given]) -> Given:
    """Return one of what is given, each as likely; what is there twice is twice as likely."""
    return given[int(chance.integers(len(given)))]


def happens(chance: np.random.Generator, probability: float) -> bool:
    """Say whether something of a probability happens this time."""
    return bool(chance.random() < probability)


def between(chance: np.random.Generator, low: float, high: float) -> float:
    """Return a number of a range."""
    return float(chance.uniform(low, high))


def log_between(chance: np.random.Generator, low: float, high: float) -> float:
    """Return a number of a range of positive ones, each octave of it as likely."""
    return math.exp(between(chance, math.log(low), math.log(high)))
