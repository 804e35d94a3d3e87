"""The model that ships: the file that the catalogue names, small, and one that separates."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from stages.catalogue import CATALOGUE
from stages.demucs_loader import DemucsModel, load_model
from stages.published import folder_of
from stages.separation import separate
from stages.weights import find_model

ROOT = Path(__file__).parents[2]
PUBLISHED = CATALOGUE["nano"].files[0]
FILE = folder_of(CATALOGUE["nano"]) / PUBLISHED.name

# What may lie in the repository: of the model, and of all that is bundled.
MOST_BYTES = 8_000_000
MOST_BYTES_IN_ALL = 20_000_000


@pytest.fixture(scope="module")
def nano() -> DemucsModel:
    return load_model(find_model("nano"))


def test_the_file_that_ships_is_the_one_of_the_catalogue() -> None:
    assert FILE.stat().st_size == PUBLISHED.size_bytes
    assert sha256(FILE.read_bytes()).hexdigest() == PUBLISHED.sha256


def test_nothing_else_lies_beside_it() -> None:
    assert list(FILE.parent.iterdir()) == [FILE]


def test_what_is_bundled_is_small() -> None:
    music = (ROOT / "pipeline" / "music" / "bundled").iterdir()

    assert FILE.stat().st_size <= MOST_BYTES
    assert sum(file.stat().st_size for file in (FILE, *music)) < MOST_BYTES_IN_ALL


def test_its_weights_are_in_sixteen_bits() -> None:
    with safe_open(FILE, framework="np") as opened:
        types = {opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118

    assert types == {"F16"}


def test_it_gives_the_four_stems_at_the_rate_of_a_cd(nano: DemucsModel) -> None:
    assert nano.stems == ("drums", "bass", "other", "vocals")
    assert nano.sample_rate_hz == 44_100


def test_it_separates_a_second_of_noise(nano: DemucsModel) -> None:
    mix = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 44_100)).astype(np.float32)

    stems = separate(nano, mix)

    assert tuple(stems) == nano.stems
    for samples in stems.values():
        assert samples.shape == mix.shape
        assert np.isfinite(samples).all()
    assert len({samples.tobytes() for samples in stems.values()}) == 4
