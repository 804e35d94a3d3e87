"""The ways to take features of some files, by name; light, so that a script starts as it would."""

from __future__ import annotations

from enum import StrEnum


class Way(StrEnum):
    """How it can be done. All but the last are what ours is measured against."""

    EACH_BY_ITSELF = "each-by-itself"
    LOADED_ONCE = "loaded-once"
    OURS = "ours"


RIVALS = tuple(way for way in Way if way is not Way.OURS)
