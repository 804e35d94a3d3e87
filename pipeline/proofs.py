"""What the manifests in an output folder prove: tracks, each in one folder, with the jobs done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from pipeline import manifest as manifests
from pipeline.artifacts import OutputFolder
from pipeline.config import RunConfig
from pipeline.ledger import Ledger
from pipeline.ledger.restoring import Restored, RestoredJob, RestoredTrack
from pipeline.ledger.work import fingerprint_of
from pipeline.manifest import Manifest
from pipeline.published import Place, published
from pipeline.scan import display
from stages.base import STEMS_FROM, JsonValue, Scope

_AT_ONCE = 500


@dataclass(frozen=True)
class Left:
    """A published folder that is not in the new ledger, and why."""

    folder: str
    why: str


@dataclass(frozen=True)
class Proof:
    """A published folder whose manifest is whole and speaks of the place where it lies."""

    place: Place
    manifest: Manifest
    sha256: str
    source: RestoredTrack


@dataclass(frozen=True, order=True)
class Home:
    """How much speaks for a folder as the home of a track: the more, the greater."""

    as_published: bool  # where its manifests were written
    has_source: bool
    jobs: int
    folder: bytes = field(compare=False)


class Search:
    """Walks what is published and fills a ledger with what proves itself."""

    def __init__(self, config: RunConfig, out: OutputFolder) -> None:
        self._config = config
        self._out = out
        self._paths: set[bytes] = set()
        self.homes: dict[str, Home] = {}  # by the hash of the track
        self.left: list[Left] = []

    def fill(self, ledger: Ledger) -> None:
        """Put every track into the ledger, each with one folder."""
        batch: list[Restored] = []
        for proofs in self._tracks():
            home = self._home(proofs)
            sha256 = proofs[0].source.sha256
            known = self.homes.get(sha256)
            if known is not None:
                # Copied by the user: the ledger has one folder for a content.
                better, worse = (home, known) if home > known else (known, home)
                self._leave(worse.folder, f"the same track is in {display(better.folder)}")
                if worse is home:
                    continue
                ledger.restoring.add(batch)
                batch = []
                ledger.restoring.take_out(sha256)
            self.homes[sha256] = home
            batch.append(self._restored(proofs))
            if len(batch) >= _AT_ONCE:
                ledger.restoring.add(batch)
                batch = []
        ledger.restoring.add(batch)

    def _tracks(self) -> Iterator[list[Proof]]:
        """Give the proofs of one track at a time: all of one folder, and of one content."""
        for places in published(self._out):
            proofs = [proof for place in places if (proof := self._proof(place)) is not None]
            proofs.sort(key=lambda proof: proof.source.sha256)
            groups = [list(group) for _, group in groupby(proofs, lambda one: one.source.sha256)]
            if not groups:
                continue
            best = max(groups, key=self._likely)
            for group in groups:
                if group is not best:
                    for proof in group:
                        self._leave_place(proof.place, "it is of another content than the rest")
            yield self._of_one_separation(best)

    def _of_one_separation(self, proofs: list[Proof]) -> list[Proof]:
        """Leave out features of stems that were replaced since: a killed run had not come to them."""
        made = {one.manifest.fingerprint for one in proofs if one.place.stage == STEMS_FROM}
        kept = []
        for proof in proofs:
            if made and proof.place.scope == Scope.STEMS and proof.manifest.upstream not in made:
                self._leave_place(proof.place, "it was made from stems that were replaced since")
            else:
                kept.append(proof)
        return kept

    def _likely(self, group: Sequence[Proof]) -> tuple[bool, int, str]:
        source = group[0].source
        return (
            self._size_at(source.folder) == source.size_bytes,
            len(group),
            max(proof.manifest.created_utc for proof in group),
        )

    def _proof(self, place: Place) -> Proof | None:
        examined = manifests.examine(place.path)
        found = examined.manifest
        if found is None or examined.sha256 is None or examined.troubles:
            trouble = examined.troubles[0]
            self._leave_place(place, f"{trouble.file}: {trouble.detail}")
            return None
        source = _source(found, place.folder)
        why = None
        if (found.stage, found.scope) != (place.stage, place.scope):
            why = f"its manifest is of {found.stage} ({found.scope})"
        elif place.stage not in self._config.declarations:
            why = "no stage of that name is registered"
        elif source is None:
            why = "its manifest does not say of what source it is"
        elif found.fingerprint != fingerprint_of(source.sha256, found.recipe, found.upstream):
            why = "its fingerprint is not that of its own source and settings"
        if source is None or why is not None:
            self._leave_place(place, str(why))
            return None
        return Proof(place, found, examined.sha256, source)

    def _home(self, proofs: Sequence[Proof]) -> Home:
        source = proofs[0].source
        return Home(
            as_published=any(
                proof.manifest.folder == self._out.relative(proof.place.path) for proof in proofs
            ),
            has_source=self._size_at(source.folder) == source.size_bytes,
            jobs=len(proofs),
            folder=source.folder,
        )

    def _size_at(self, path: bytes) -> int | None:
        try:
            return os.stat(os.path.join(os.fsencode(self._config.dataset), path)).st_size
        except OSError:
            return None

    def _restored(self, proofs: Sequence[Proof]) -> Restored:
        source = proofs[0].source
        path = self._path(source, proofs[0].manifest)
        return Restored(
            track=source,
            path=path,
            shown=display(path),
            jobs=tuple(
                (self._job(proof), manifests.features(proof.place.path)) for proof in proofs
            ),
        )

    def _job(self, proof: Proof) -> RestoredJob:
        found = proof.manifest
        return RestoredJob(
            stage=found.stage,
            scope=found.scope,
            lane=self._config.declarations[found.stage].lane,
            recipe=found.recipe,
            upstream=found.upstream,
            fingerprint=found.fingerprint,
            wall_s=_number(found.timings.get("wall_s")),
            cpu_s=_number(found.timings.get("cpu_s")),
            manifest_sha256=proof.sha256,
        )

    def _path(self, source: RestoredTrack, found: Manifest) -> bytes:
        """Return where the source should be: folders are named after that, but for a few."""
        mark = b"~" + source.sha256[:8].encode()
        path = source.folder
        told = os.fsencode(str(found.source.get("path", "")))
        if path.endswith(mark):
            stem = path.removesuffix(mark)
            path = told if told.startswith(stem) else stem
        elif path.startswith(b"~long/") and told:
            path = told
        free = next(
            one
            for one in (path, source.folder, source.folder + mark, mark + source.folder)
            if one not in self._paths
        )
        self._paths.add(free)
        return free

    def _leave(self, folder: bytes, why: str) -> None:
        place = self._out.relative(self._out.track(folder))
        self.left.append(Left(display(os.fsencode(place)), why))

    def _leave_place(self, place: Place, why: str) -> None:
        shown = display(os.fsencode(self._out.relative(place.path)))
        self.left.append(Left(shown, display(why.encode(errors="surrogateescape"))))


def _source(found: Manifest, folder: bytes) -> RestoredTrack | None:
    """Return what a manifest says of its source, None if it does not."""
    sha256, size_bytes = found.source.get("sha256"), found.source.get("size_bytes")
    if not isinstance(sha256, str) or not isinstance(size_bytes, int):
        return None
    codec = found.source.get("codec")
    return RestoredTrack(
        sha256=sha256,
        size_bytes=size_bytes,
        duration_s=_number(found.source.get("duration_s")),
        sample_rate_hz=_whole(found.source.get("sample_rate_hz")),
        channels=_whole(found.source.get("channels")),
        codec=codec if isinstance(codec, str) else None,
        folder=folder,
    )


def _number(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: JsonValue) -> int | None:
    return value if isinstance(value, int) else None
