"""How amounts are written for people."""

from __future__ import annotations

_UNITS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def size(number: float) -> str:
    """Return a number of bytes in decimal units, as disks are sold."""
    for unit, factor in _UNITS:
        if abs(number) >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number:.0f} bytes"
