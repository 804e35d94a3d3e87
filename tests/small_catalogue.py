"""A catalogue of small models on a test server, and `pipeline` with it as a process of its own."""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path

from stages import catalogue
from stages.published import Kind, Licence, PublishedFile, PublishedModel
from tests.web import content

PLAIN = Licence("plain", "Plain weights: to be read", "Whoever reads this may go on.", "http://p")
OTHER = Licence("other", "Other weights: for nothing else", "Not for sale.", "http://o")


def described(name: str) -> bytes:
    """Return a model's .json."""
    return json.dumps({"name": name, "classes": ["a", "b"]}).encode()


FILES = {
    "/one/one.safetensors": content("one", 400_000),
    "/bag/left.safetensors": content("left", 3_000),
    "/bag/right.safetensors": content("right", 2_000),
    "/essentia/sound-1.pb": content("sound-1", 5_000),
    "/essentia/sound-1.json": described("sound-1"),
    "/essentia/dance-1.pb": content("dance-1", 1_000),
    "/essentia/dance-1.json": described("dance-1"),
}
UNPUBLISHED = {"sound-1.json", "dance-1.pb", "dance-1.json"}


def small(url: str) -> dict[str, PublishedModel]:
    """Return the catalogue whose addresses are of a server."""
    return {
        model.name: model
        for model in (
            _model("one", Kind.SEPARATION, "one", PLAIN, "one.safetensors", url=url),
            _model(
                "bag",
                Kind.SEPARATION,
                "bag",
                PLAIN,
                "left.safetensors",
                "right.safetensors",
                url=url,
            ),
            _model(
                "sound-1", Kind.EMBEDDING, "essentia", OTHER, "sound-1.pb", "sound-1.json", url=url
            ),
            _model(
                "dance-1",
                Kind.HEAD,
                "essentia",
                OTHER,
                "dance-1.pb",
                "dance-1.json",
                url=url,
                needs=("sound-1",),
            ),
        )
    }


def _model(
    name: str,
    kind: Kind,
    folder: str,
    licence: Licence,
    *files: str,
    url: str,
    needs: tuple[str, ...] = (),
) -> PublishedModel:
    published = tuple(
        PublishedFile(
            file,
            f"{url}/{folder}/{file}",
            None if file in UNPUBLISHED else sha256(FILES[f"/{folder}/{file}"]).hexdigest(),
        )
        for file in files
    )
    return PublishedModel(name, kind, f"what {name} is for", folder, published, licence, needs)


def names_in(folder: Path) -> set[str]:
    """Return the paths of all files below a folder, but for the lock and what was accepted."""
    kept = {"models.lock", "accepted-licences.json"}
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.name not in kept
    }


def flip(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.write_bytes(found)


if __name__ == "__main__":
    from pipeline.cli import main

    catalogue.CATALOGUE = small(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
