"""Threads that encode the stems of all tracks, and the bound on what waits for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeAlias

Task: TypeAlias = Callable[[], None]


@dataclass
class _Batch:
    """Tasks, one a row, that share memory: it is free when all of them have run."""

    held_bytes: int
    tasks_left: int


@dataclass(eq=False)
class _Row:
    """Tasks that run one after another; the first may be running. Also whose they are."""

    work: Work
    tasks: deque[tuple[Task, _Batch]] = field(default_factory=deque)


class Encoders:
    """Threads that encode, shared by all writers of a lane, and the bound on what waits for them.

    Args:
        threads: how many; with 0 everything is done at once in the calling thread.
        held_bytes: a block is taken when with it no more than this waits, or nothing else does.
    """

    def __init__(self, threads: int, *, held_bytes: int = 1 << 30) -> None:
        self._bound_bytes = held_bytes
        self._held_bytes = 0
        self._changed = threading.Condition()
        self._ready: deque[_Row] = deque()  # rows with tasks, none of which is running
        self._closing = False
        # A lane that dies without `close` must not wait for them.
        self._threads = [
            threading.Thread(target=self._run, name=f"encoder-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Encode what waits, then end the threads. What comes later its caller encodes."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def put(self, rows: Sequence[_Row], tasks: Sequence[Task], *, held_bytes: int) -> None:
        """Append one task to each row; blocks while too much waits. Called by `Work`."""
        if self._threads and self._take(rows, tasks, held_bytes):
            return
        self.wait(rows)  # what came before they were closed
        for row, task in zip(rows, tasks, strict=True):
            row.work.run(task)

    def _take(self, rows: Sequence[_Row], tasks: Sequence[Task], held_bytes: int) -> bool:
        """Hand tasks to the threads; return whether there are any still."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._has_room(held_bytes))
            if self._closing:
                return False
            self._held_bytes += held_bytes
            batch = _Batch(held_bytes, len(rows))
            for row, task in zip(rows, tasks, strict=True):
                if not row.tasks:
                    self._ready.append(row)
                row.tasks.append((task, batch))
            self._changed.notify_all()
            return True

    def wait(self, rows: Sequence[_Row]) -> None:
        """Wait until every task of these rows has run. Called by `Work`."""
        with self._changed:
            self._changed.wait_for(lambda: not any(row.tasks for row in rows))

    def _has_room(self, held_bytes: int) -> bool:
        return not self._held_bytes or self._held_bytes + held_bytes <= self._bound_bytes

    def _run(self) -> None:
        # One call a task: a variable that lives on would keep the last block until the next comes.
        while self._run_one():
            pass

    def _run_one(self) -> bool:
        """Run the next task; return whether more may come."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or bool(self._ready))
            if not self._ready:
                return False
            row = self._ready.popleft()
            task, batch = row.tasks[0]
        row.work.run(task)
        with self._changed:
            row.tasks.popleft()
            if row.tasks:
                self._ready.append(row)  # behind the others: no track goes ahead of its neighbours
            batch.tasks_left -= 1
            if not batch.tasks_left:
                self._held_bytes -= batch.held_bytes
            self._changed.notify_all()
        return True


class Work:
    """What one writer gives to the encoders: a row of tasks per stem, and what went wrong in them.

    After an error, and once `stopped` is set, tasks that have not begun are dropped.
    """

    def __init__(self, encoders: Encoders, rows: int) -> None:
        self._encoders = encoders
        self._rows = [_Row(self) for _ in range(rows)]
        self._error: Exception | None = None
        self.stopped = threading.Event()

    @property
    def failed(self) -> bool:
        """Whether a task has raised."""
        return self._error is not None

    def put(self, tasks: Sequence[Task], *, held_bytes: int = 0) -> None:
        """Append one task to each row; blocks while the encoders hold too much."""
        self._encoders.put(self._rows, tasks, held_bytes=held_bytes)

    def wait(self) -> None:
        """Wait until every task has run or was dropped."""
        self._encoders.wait(self._rows)

    def check(self) -> None:
        """Raise the first error of a task."""
        if self._error is not None:
            raise self._error

    def run(self, task: Task) -> None:
        """Run a task and keep its error. Called by the encoders."""
        if self.stopped.is_set() or self.failed:
            return
        try:
            task()
        except Exception as error:  # it belongs to this writer, not to the thread
            self._error = self._error or error
