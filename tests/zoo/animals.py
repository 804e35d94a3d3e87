"""All inputs of the zoo, row by row."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.zoo import codecs, damage, headers, mpeg, names, not_audio, samples, shapes, tags
from tests.zoo.animal import Animal

# Nobody listens there; the test puts in the port at which it does.
NO_PORT = 9


def animals(*, port: int = NO_PORT) -> list[Animal]:
    """Return every animal, by row; playlists lead to this port of this machine."""
    found = [
        *headers.ANIMALS, *not_audio.animals(port), *damage.ANIMALS, *mpeg.ANIMALS,
        *samples.ANIMALS, *shapes.ANIMALS, *codecs.ANIMALS, *names.ANIMALS, *tags.ANIMALS,
    ]  # fmt: skip
    return sorted(found, key=lambda one: int(one.row[1:]))


def write(zoo: Path, wanted: Iterable[Animal]) -> None:
    """Write animals into a folder, which need not be there.

    Raises:
        NoFfmpeg: some can only be made with it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for animal in wanted:
            animal.write(zoo, Path(scratch))
