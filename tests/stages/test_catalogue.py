"""The facts of the catalogue: every address pinned, nothing named twice, nothing that leaves its folder."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest

from stages.catalogue import CATALOGUE
from stages.published import ESSENTIA, Kind, PublishedModel

FETCHED = {name: model for name, model in CATALOGUE.items() if not model.ships}

every_model = pytest.mark.parametrize("model", CATALOGUE.values(), ids=CATALOGUE)
every_fetched_model = pytest.mark.parametrize("model", FETCHED.values(), ids=FETCHED)


def _of(kind: Kind) -> list[PublishedModel]:
    return [model for model in CATALOGUE.values() if model.kind is kind]


def test_the_catalogue_has_what_the_stages_ask_for() -> None:
    assert [model.name for model in _of(Kind.SEPARATION)] == [
        "htdemucs",
        "htdemucs_ft",
        "htdemucs_6s",
        "nano",
    ]
    assert [model.name for model in _of(Kind.EMBEDDING)] == [
        "msd-musicnn-1",
        "audioset-vggish-3",
        "discogs-effnet-bs64-1",
    ]
    assert len(_of(Kind.HEAD)) == 12 + 12 + 15


def test_one_model_ships_whole_and_asks_nothing_of_anybody() -> None:
    (model,) = (model for model in CATALOGUE.values() if model not in FETCHED.values())

    assert (model.name, model.licence.key, model.needs) == ("nano", "nightshift", ())
    for file in model.files:
        assert file.sha256 is not None
        assert file.size_bytes is not None


@every_fetched_model
def test_every_file_comes_over_https_under_the_name_it_gets(model: PublishedModel) -> None:
    for file in model.files:
        address = urlsplit(file.url)
        assert (address.scheme, address.query) == ("https", "")
        assert PurePosixPath(address.path).name == file.name


@every_model
def test_every_hash_that_is_known_is_a_sha256(model: PublishedModel) -> None:
    for file in model.files:
        assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32


@every_model
def test_no_name_leads_out_of_the_models_folder(model: PublishedModel) -> None:
    for name in (model.folder, *(file.name for file in model.files)):
        assert PurePosixPath(name).parts == (name,)
        assert name not in {".", ".."}


def test_no_two_files_share_a_place_or_a_hash() -> None:
    files = [(model.folder, file) for model in CATALOGUE.values() for file in model.files]
    places = Counter((folder, file.name) for folder, file in files)
    hashes = Counter(file.sha256 for _, file in files if file.sha256 is not None)

    assert max(places.values()) == 1
    assert max(hashes.values()) == 1


@pytest.mark.parametrize("model", _of(Kind.SEPARATION), ids=lambda model: model.name)
def test_separation_models_are_pinned_to_a_revision_and_every_file_to_its_hash(
    model: PublishedModel,
) -> None:
    for file in model.files:
        if not model.ships:
            revision = PurePosixPath(urlsplit(file.url).path).parts[-2]
            assert len(bytes.fromhex(revision)) == 20
        assert file.sha256 is not None
    assert model.bag is None or len(model.bag) == len(model.files)


@pytest.mark.parametrize(
    "model", _of(Kind.EMBEDDING) + _of(Kind.HEAD), ids=lambda model: model.name
)
def test_an_essentia_model_is_its_description_and_then_the_graph_beside_it(
    model: PublishedModel,
) -> None:
    assert model.folder == ESSENTIA
    assert [file.name for file in model.files] == [f"{model.name}.json", f"{model.name}.pb"]
    assert model.files[0].url == model.files[1].url.removesuffix(".pb") + ".json"


def test_a_head_needs_an_embedding_of_the_catalogue_and_nothing_else_needs_anything() -> None:
    for model in CATALOGUE.values():
        needs = [CATALOGUE[name].kind for name in model.needs]
        assert needs == ([Kind.EMBEDDING] if model.kind is Kind.HEAD else [])
