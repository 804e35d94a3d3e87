"""What is installed, asked without importing it: to import torch takes seconds, to ask a file's name."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata


def version_of(distribution: str) -> str | None:
    """Return the version of a distribution, by the name that pip knows; None if it is not here."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def missing_of(distributions: Iterable[str]) -> list[str]:
    """Return those of some distributions that are not installed."""
    return [name for name in distributions if version_of(name) is None]
