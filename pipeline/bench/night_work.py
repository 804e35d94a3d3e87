"""Where the ways of a night work, one process after another, and what each of them took."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.bench.extrapolation import Observation
from pipeline.bench.night_ways import Task, Way, command, outputs, ways
from pipeline.bench.processes import Spent, spent
from pipeline.bench.samples import Dataset, Samples
from pipeline.errors import NotMeasured
from pipeline.texts import counted

_TOLD_EVERY = 10
"""Files after which a way that goes file by file says how far it is."""


class Bench:
    """Where the ways work."""

    def __init__(
        self,
        task: Task,
        folder: Path,
        *,
        stems: int,
        environment: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self.ways = ways(task.parts)
        self._task = task
        self._folder = folder
        self._stems = stems
        self._environment = environment
        self._say = say

    def sample(self, way: Way, samples: Samples) -> tuple[Observation, ...]:
        """Return what a way took for a piece, for all pieces, and for the files they are of."""
        # A process for each file has no start that one piece alone would show.
        datasets = (samples.cut, samples.whole) if way.is_per_file else (
            samples.one, samples.cut, samples.whole)  # fmt: skip
        return tuple(seen for dataset in datasets for seen in self.once(way, dataset)[0])

    def once(self, way: Way, dataset: Dataset) -> tuple[tuple[Observation, ...], Spent]:
        """Do all files of a folder in one way; leave nothing behind."""
        if not way.is_per_file:
            used = self._process(way, dataset, dataset.files)
            seen = [Observation(len(dataset.clips), dataset.audio_s, used.wall_s)]
        else:
            each = []
            for number, file in enumerate(dataset.files, 1):
                each.append(self._process(way, dataset, [file]))
                if number % _TOLD_EVERY == 0 and number < len(dataset.clips):
                    wall_s = sum(one.wall_s for one in each)
                    self._say(f"    {number} of {len(dataset.clips)} files, {wall_s:.1f} s")
            used = _sum(each)
            seen = [
                Observation(1, clip.duration_s, one.wall_s)
                for clip, one in zip(dataset.clips, each, strict=True)
            ]
        length = f"{counted(len(dataset.clips), 'file')} of {dataset.audio_s:.1f} s in all"
        self._say(f"  {way}: {length}: {used.wall_s:.2f} s")
        return tuple(seen), used

    def _process(self, way: Way, dataset: Dataset, files: Sequence[Path]) -> Spent:
        os.sync()  # what the one before left to be written is not to be paid by this one
        out = self._folder / way.part
        asked = command(way, self._task, dataset.folder, files, out)
        used = spent([asked], environment=self._environment, what=str(way))
        pattern, expected = outputs(way, len(files), stems=self._stems)
        found = len(list(out.glob(pattern)))
        if found != expected:
            detail = f"{found} of {expected} outputs are there"
            raise NotMeasured(str(way), "it did not do all", detail)
        shutil.rmtree(out)
        return used


def _sum(each: Sequence[Spent]) -> Spent:
    return Spent(
        wall_s=sum(one.wall_s for one in each),
        cpu_s=sum(one.cpu_s for one in each),
        peak_bytes=max(one.peak_bytes for one in each),
    )
