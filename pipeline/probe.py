"""The probe: hashes files and reads their headers, ahead of the work. It may die.

python -P -m pipeline.probe <pipe> <parent pid>
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Any, cast

from pipeline.start import tied_to_parent
from pipeline.wire import Message

_BLOCK_BYTES = 1 << 20


def main() -> int:
    """Answer one message per file, in order, until the supervisor is gone."""
    wire = tied_to_parent(expendable=True)
    from stages.decode import DecodeLimits

    limits = DecodeLimits()
    for message in wire.messages():
        said = cast("dict[str, Any]", message)
        if said["type"] == "setup":
            limits = DecodeLimits(**said["limits"])
        else:
            wire.send(_probed(said["path_id"], os.fsencode(said["path"]), limits))
    return 0


def _probed(path_id: int, path: bytes, limits: Any) -> Message:
    """Return what a file is: its hash always, its header or why it has none."""
    from stages.base import Reason, TrackUnusable
    from stages.decode import read_header

    try:
        sha256, size_bytes = _hashed(path)
    except OSError as error:
        return {"type": "unread", "path_id": path_id, "why": f"{error.strerror}"}
    answer: Message = {
        "type": "probed",
        "path_id": path_id,
        "sha256": sha256,
        "size_bytes": size_bytes,
    }
    try:
        header = read_header(path, limits=limits)
    except TrackUnusable as error:
        if error.reason is Reason.IO:
            return {"type": "unread", "path_id": path_id, "why": error.detail}
        return {**answer, "problem": str(error.reason), "problem_detail": error.detail}
    return {
        **answer,
        "duration_s": header.duration_s,
        "sample_rate_hz": header.sample_rate_hz,
        "channels": header.channels,
        "codec": header.codec,
    }


def _hashed(path: bytes) -> tuple[str, int]:
    digest = hashlib.sha256()
    size_bytes = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            size_bytes += len(block)
    return digest.hexdigest(), size_bytes


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
