"""Two runs on one dataset at the same instant."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.sandbox import Sandbox
from tests.zygote import Zygote

Start = Callable[[Sandbox], list[tuple[int, str]]]


@contextmanager
def two_at_once() -> Iterator[Start]:
    """Give what starts two runs on a dataset at the same instant; it returns codes and stderr.

    Two processes fork one each, released together by threads behind one barrier.
    """
    with Zygote() as one, Zygote() as other:

        def start(box: Sandbox) -> list[tuple[int, str]]:
            barrier = threading.Barrier(2)
            ends: list[tuple[int, str]] = []
            threads = [
                threading.Thread(target=_run, args=(zygote, box, str(number), barrier, ends))
                for number, zygote in enumerate((one, other))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return ends

        yield start


def _run(
    zygote: Zygote, box: Sandbox, name: str, barrier: threading.Barrier, ends: list[tuple[int, str]]
) -> None:
    streams = [box.root / f"{name}.{stream}" for stream in ("out", "err")]
    barrier.wait()
    code = zygote.command(
        ["run", str(box.dataset)],
        environment=box.environment,
        folder=str(box.root),
        streams=[str(stream) for stream in streams],
        forks_children=True,
    )
    ends.append((code, streams[1].read_text()))
