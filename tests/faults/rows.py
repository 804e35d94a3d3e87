"""Names the row of the fault matrix that a test is about."""

from __future__ import annotations

import pytest


def row(name: str) -> pytest.MarkDecorator:
    """Put the row of the matrix into the ids of a test."""
    return pytest.mark.parametrize("row", [name], indirect=True)
