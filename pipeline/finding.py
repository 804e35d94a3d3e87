"""Takes in what the scan finds, a batch at a time, so that the first track can start before it is over."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pipeline.identity import signed
from pipeline.ledger.files import SeenFile
from pipeline.night import Night
from pipeline.placing import is_gone
from pipeline.scan import FoundFile, Scan, display, is_audio

_BATCH = 500


class Finding:
    """The scan of one run. `over` once everything was met."""

    def __init__(self, night: Night) -> None:
        config = night.config
        self._night = night
        self._scan = Scan(
            config.dataset,
            out=config.out,
            include=config.include,
            exclude=config.exclude,
            names=config.names,
        )
        self._batches = _batches(self._files())
        self.over = False

    def _files(self) -> Iterator[FoundFile]:
        """Give the files as the scan does; only a list of names may have another order."""
        files = self._scan.files()
        if self._night.config.order == "path" and self._night.config.names is not None:
            files = iter(sorted(files, key=lambda file: file.path.split(b"/")))
        yield from files

    def take(self) -> bool:
        """Take one batch in; return whether there was anything new or changed in it."""
        if self.over:
            return False
        batch = next(self._batches, None)
        if batch is None:
            self.over = True
            self._tell_missing()
            return False
        night, seen = self._night, [_seen(file) for file in batch]
        fresh = night.ledger.files.recognise(night.run_id, seen, stages=night.wanted)
        night.ledger.files.add(
            night.run_id, [file for file in fresh if is_audio(night.config.dataset, file.path)]
        )
        return bool(fresh)

    def _tell_missing(self) -> None:
        """Files that were not met are gone, or only left out by a filter."""
        night = self._night
        after, gone = 0, 0
        while unseen := night.ledger.files.unseen(night.run_id, after=after, limit=_BATCH):
            missing = [known.id for known in unseen if is_gone(night, known)]
            night.ledger.files.mark_missing(missing)
            after, gone = unseen[-1].id, gone + len(missing)
        for reason, number in self._scan.skipped.items():
            examples = ", ".join(self._scan.examples.get(reason, ()))
            night.tell("left_out", reason=reason, files=number, examples=examples)
        night.tell("scanned", missing=gone)


def _batches(files: Iterator[FoundFile]) -> Iterator[list[FoundFile]]:
    while batch := list(islice(files, _BATCH)):
        yield batch


def _seen(file: FoundFile) -> SeenFile:
    return SeenFile(
        path=file.path,
        shown=display(file.path),
        size_bytes=file.size_bytes,
        mtime_ns=signed(file.mtime_ns),
        ctime_ns=signed(file.ctime_ns),
        inode=signed(file.inode),
        device=signed(file.device),
    )
