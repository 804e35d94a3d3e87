"""The process that asks the drivers of GPUs: one answer for each question. It may die, or hang.

python -P -m pipeline.monitoring.asking <pipe> <parent pid>
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict

from pipeline.monitoring.find import find
from pipeline.monitoring.gpu import Gpus
from pipeline.start import tied_to_parent
from pipeline.wire import Wire

_SILENT_ALLOWED = 5  # in a row: a driver that is reset or a card that is lost does not answer


def serve(wire: Wire, gpus: Gpus) -> None:
    """Answer until the supervisor is gone, or until there is no point in asking any more."""
    why, silent = gpus.why, 0
    for _ in wire.messages():
        cards = gpus.sample() if not why else ()
        silent = 0 if any(card.says_anything for card in cards) else silent + 1
        if silent == _SILENT_ALLOWED:
            why = f"{gpus.by}: no card has given any value, {silent} times in a row"
        if why:
            wire.send({"type": "none", "why": why})
            break
        wire.send({"type": "gpus", "gpus": [asdict(card) for card in cards]})
    gpus.close()


if __name__ == "__main__":
    serve(tied_to_parent(expendable=True), find())
    sys.stdout.flush()
    os._exit(0)
