from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stages import catalogue
from tests.small_catalogue import FILES, small
from tests.web import Site, served


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server with the small catalogue, and a home without models."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "nightshift_models_url"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with served() as site:
        site.files.update(FILES)
        monkeypatch.setattr(catalogue, "CATALOGUE", small(site.url))
        yield site
