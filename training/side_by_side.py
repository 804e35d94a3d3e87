"""One song on each core, in processes of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from pipeline.threads import budget

Made = TypeVar("Made")


def side_by_side(of_seed: Callable[[int], Made], seeds: Iterable[int]) -> Iterator[Made]:
    """Give what a function of the module level makes of each seed, in their order."""
    # Not forked: a child of a process whose torch has threads may wait for them for ever.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(budget(), mp_context=fresh) as pool:
        yield from pool.map(of_seed, seeds)
