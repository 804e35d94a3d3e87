"""All that is asked of a card, section by section; what one finds is kept whatever the next one does."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.bench.clips import gather
from pipeline.bench.gpu import kill, runs
from pipeline.bench.gpu.brief import Brief, Row
from pipeline.bench.gpu.pieces import cut
from pipeline.bench.gpu.sections import SECTIONS as ALONE
from pipeline.bench.gpu.sections import rows_of
from pipeline.bench.preparing import Prepared, prepare
from pipeline.bench.samples import Dataset
from pipeline.bench.ways import Precision, Task
from pipeline.errors import BadUsage, NotMeasured, Unfit
from pipeline.installed import version_of
from pipeline.machine import processor
from pipeline.texts import counted
from pipeline.threads import budget

SECTIONS = (*ALONE, "kill", "songs", "clips")
"""In the order in which they are done: what costs the least first."""

_VERSIONS = ("torch", "demucs", "numpy", "soundfile", "nvidia-ml-py")


@dataclass(frozen=True)
class Question:
    """What is to be measured.

    Args:
        brief: for the sections that want torch; its files are the songs.
        clips: how many pieces of `clip_s` are cut out of the songs for the section `clips`.
        rounds: how often whole processes are run.
        results: a file that has all findings so far after each of them.
    """

    brief: Brief
    sections: tuple[str, ...]
    clips: int
    clip_s: float
    rounds: int
    results: Path | None = None


def measure(
    question: Question, *, environment: Mapping[str, str], say: Callable[[str], None]
) -> dict[str, Any]:
    """Do the sections, and return the findings, ready for JSON.

    Settings in the environment do not count: it is the command line that is measured.

    Raises:
        BadUsage: a file cannot be read, or there is none.
        Unfit: the model or the device are missing.
    """
    if not question.brief.files:
        raise BadUsage("There are no files. Give some songs.")
    plain = {name: value for name, value in environment.items() if "NIGHTSHIFT" not in name}
    answer: dict[str, Any] = {
        "bench": "gpu",
        "started_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"nightshift": __version__, **{name: version_of(name) for name in _VERSIONS}},
        "processor": processor(),
        "threads": budget(),
        "model": question.brief.model,
        "device": question.brief.device,
        "rows": [],
    }
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as name:
        bench = _Bench(question, Path(name), environment=plain, say=say)
        for section in (one for one in SECTIONS if one in question.sections):
            say(section)
            for row in _kept(section, bench.rows(section)):
                answer["rows"].append(row)
                _write(question.results, answer)
    return answer


def _kept(section: str, rows: Iterable[Row]) -> Iterator[Row]:
    """Give the rows of a section, and at last why there are no more where it failed, however."""
    try:
        for row in rows:
            yield {"section": section, **row}
    except (BadUsage, Unfit):
        raise
    except Exception as error:
        yield {"section": section, "kind": "died", "problem": f"{type(error).__name__}: {error}"}


def _write(results: Path | None, answer: Mapping[str, Any]) -> None:
    if results is not None:
        new = results.with_name(f"{results.name}.new")
        new.write_text(json.dumps(answer, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(new, results)


class _Bench:
    """Where the sections work. The model for Demucs is written when the first of them wants it."""

    def __init__(
        self,
        question: Question,
        folder: Path,
        *,
        environment: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._question = question
        self._folder = folder
        self._environment = environment
        self._say = say
        self._songs = Dataset(
            folder / "songs", tuple(gather(question.brief.files, folder / "songs"))
        )
        self._prepared: Prepared | None = None
        self._batches: dict[str, int] | None = None

    def rows(self, section: str) -> Iterator[Row]:
        """Do a section."""
        if section == "forwards":
            # A process each: what cannot be recorded or compiled may take the others along.
            for how in self._question.brief.hows:
                yield from self._alone(section, replace(self._question.brief, hows=(how,)))
        elif section in ALONE:
            yield from self._alone(section, self._question.brief)
        else:
            if self._batches is None:
                yield from self._alone("batches", self._question.brief)
            yield from self._whole(section)

    def _alone(self, section: str, brief: Brief) -> list[Row]:
        rows = rows_of(section, brief, self._folder, environment=self._environment)
        if section == "batches":
            self._batches = {row["format"]: row["batch"] for row in rows if "batch" in row}
        return rows

    def _whole(self, section: str) -> Iterator[Row]:
        asked = self._question
        if section == "kill":
            # Nothing of Demucs' own is run.
            yield from kill.measure(self._place(self._songs, device="", stems=0))
            return
        dataset = self._songs if section == "songs" else self._cut()
        prepared = self._prepare()
        place = self._place(dataset, device=prepared.device, stems=len(prepared.sources))
        yield from runs.measure(section, dataset, place, rounds=asked.rounds, say=self._say)

    def _cut(self) -> Dataset:
        asked = self._question
        found = cut(self._songs, self._folder / "clips", count=asked.clips, seconds=asked.clip_s)
        if not found.clips:
            raise NotMeasured("clips", f"no file has {asked.clip_s:g} s", "Give longer songs.")
        self._say(f"  {counted(len(found.clips), 'piece')} of {asked.clip_s:g} s")
        return found

    def _prepare(self) -> Prepared:
        if self._prepared is None:
            self._prepared = prepare(
                model=self._question.brief.model,
                device=self._question.brief.device,
                numbers=(),
                repository=self._folder / "demucs",
                environment=self._environment,
            )
        return self._prepared

    def _place(self, dataset: Dataset, *, device: str, stems: int) -> runs.Place:
        brief = self._question.brief
        task = Task(
            dataset=dataset.folder,
            names=tuple(clip.name for clip in dataset.clips),
            repository=self._folder / "demucs",
            model=brief.model,
            device=device,
            asked_device=brief.device,
            precision=Precision.EXACT,
        )
        return runs.Place(task, self._folder, stems, self._batches or {}, self._environment)
