from __future__ import annotations

import numpy as np
import pytest

from stages import growing
from stages.growing import Growing


@pytest.mark.parametrize("expected", [0, 3, 100, 257, 1_000])
@pytest.mark.parametrize("shape", [(), (2,), (3, 2)])
def test_rows_come_out_as_they_went_in(
    shape: tuple[int, ...], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "_CHUNK_BYTES", 480)
    rows = np.random.default_rng(0).standard_normal((257, *shape)).astype(np.float32)
    found = Growing(shape, np.float32, expected)

    for block in np.split(rows, [1, 1, 50, 200]):
        found.add(block)

    assert found.count == 257
    assert np.array_equal(np.concatenate(found.chunks()), rows)
    assert np.array_equal(found.joined(), rows)
    assert found.chunks() == []


def test_what_was_added_is_a_copy() -> None:
    block = np.ones(4, np.float32)
    found = Growing((), np.float32)

    found.add(block)
    block[:] = 2.0

    assert found.joined().tolist() == [1.0, 1.0, 1.0, 1.0]


def test_nothing_is_an_array_of_no_rows() -> None:
    assert Growing((5,), np.float32).joined().shape == (0, 5)
