"""Hashes and headers of files, read by a probe beside us and kept nowhere: for `plan --probe`."""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pipeline.child import Child
from pipeline.config import RunConfig
from pipeline.errors import Unfit
from pipeline.ledger.files import Probed
from pipeline.threads import variables

_AHEAD = 32
_SILENT_DEATHS_ALLOWED = 5  # in a row, without one answer between
_SLOWEST_BYTES_S = 1e6  # of a disk or network that still counts as working


def read_headers(
    config: RunConfig, paths: Sequence[bytes]
) -> Iterator[tuple[bytes, Probed | None]]:
    """Give each file, in order, with what the probe read of it: None where it cannot be read.

    A file on which the probe dies or hangs cannot be read; the next gets a new probe.

    Raises:
        Unfit: the probe does not work here at all.
    """
    at = silent_deaths = 0
    while at < len(paths):
        answers = 0
        for answer in _read_with_one_probe(config, paths[at:]):
            yield paths[at], answer
            at += 1
            answers += 1
        silent_deaths = 0 if answers > 1 else silent_deaths + 1
        if silent_deaths > _SILENT_DEATHS_ALLOWED:
            raise Unfit(
                "the process that reads headers keeps ending and answers nothing. Try: pipeline doctor"
            )


def _read_with_one_probe(config: RunConfig, paths: Sequence[bytes]) -> Iterator[Probed | None]:
    """Give answers until all are given or one file was too much for the probe."""
    child = Child("pipeline.probe", environment={**config.environment, **variables(1)})
    try:
        child.send({"type": "setup", "limits": config.decode.model_dump(mode="json")})
        asked = answered = 0
        while answered < len(paths):
            while asked < min(len(paths), answered + _AHEAD):
                full = os.path.join(os.fsencode(config.dataset), paths[asked])
                child.send({"type": "probe", "path_id": asked, "path": os.fsdecode(full)})
                asked += 1
            messages = _next(child, config, paths[answered])
            if messages is None:
                yield None
                return
            for message in messages:
                yield _probed(message)
                answered += 1
    finally:
        child.kill()
        child.close()


def _next(child: Child, config: RunConfig, path: bytes) -> list[Mapping[str, Any]] | None:
    """Wait for answers; None when the probe died on the file whose answer is due, or hangs."""
    try:
        size_bytes = os.path.getsize(os.path.join(os.fsencode(config.dataset), path))
    except OSError:
        size_bytes = 0
    limit_s = config.limits.hang_base_s + size_bytes / _SLOWEST_BYTES_S
    with selectors.DefaultSelector() as selector:
        selector.register(child.wire, selectors.EVENT_READ)
        while selector.select(limit_s):
            child.drain()
            messages, is_open = child.receive()
            if messages:
                return [cast("dict[str, Any]", message) for message in messages]
            if not is_open:
                return None
    return None


def _probed(message: Mapping[str, Any]) -> Probed | None:
    if message["type"] != "probed":
        return None
    return Probed(
        **{key: value for key, value in message.items() if key not in ("type", "path_id")}
    )
