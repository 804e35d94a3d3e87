"""The process that does one section of a card's measurement: a line of JSON for each finding.

    python -P -m pipeline.bench.gpu.worker <section> <brief> <answer>

A finding is written when it is made: what comes later may end the process, and the card's state.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.bench.gpu import batches, card, features, forwards, lane, memory, tracks
from pipeline.bench.gpu.brief import Brief, Row
from pipeline.bench.gpu.loaded import Loaded
from stages.base import StageBlocked

SECTIONS: dict[str, Callable[[Loaded], Iterator[Row]]] = {
    "card": card.measure,
    "batches": batches.measure,
    "forwards": forwards.measure,
    "tracks": tracks.measure,
    "memory": memory.measure,
    "lane": lane.measure,
    "features": features.measure,
}


def main() -> None:
    """Measure, and tell."""
    section, brief, answer = sys.argv[1:]
    with Path(answer).open("w", encoding="utf-8") as out:
        try:
            loaded = Loaded.of(Brief.from_json(Path(brief).read_text(encoding="utf-8")))
        except StageBlocked as error:
            out.write(json.dumps({"kind": "unfit", "problem": str(error)}) + "\n")
            return
        for row in SECTIONS[section](loaded):
            out.write(json.dumps(row, allow_nan=False) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
