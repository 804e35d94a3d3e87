"""How answers look, in what no command shows by itself."""

from __future__ import annotations

import pytest

from pipeline.texts import aligned


def test_columns_begin_below_one_another_and_nothing_trails() -> None:
    rows = [("", "seconds", "ratio"), ("ours", "1.25", ""), ("a script", "12.50", "10.0")]

    assert aligned(rows) == [
        "          seconds  ratio",
        "ours      1.25",
        "a script  12.50    10.0",
    ]


def test_a_row_with_a_cell_less_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        aligned([("a", "b"), ("c",)])
