"""A stage on one mix, as a lane does it: decoded as it asks, its files written."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.config import load_registry
from pipeline.threading_analysis.brief import Brief
from pipeline.threading_analysis.work import Work
from stages.base import Piece, Stage, StreamStage, Track
from stages.collect import Collector
from stages.decode import DecodeLimits
from stages.opening import opened


def work(brief: Brief) -> Work:
    """Load a stage."""
    declaration = load_registry(brief.registry)[brief.stage]
    module, _, name = declaration.target.partition(":")
    settings = declaration.settings.model_validate(json.loads(brief.settings))
    stage: Stage[Any] = getattr(import_module(module), name)(settings, device="cpu")
    stage.load()
    sha256 = hashlib.sha256(Path(brief.song).read_bytes()).hexdigest()
    if isinstance(stage, StreamStage):
        return Work(partial(_stream, stage, brief, sha256))
    return Work(partial(_one, stage, brief, sha256), declaration.parallel and stage.parallel)


def _one(stage: Stage[Any], brief: Brief, sha256: str) -> None:
    kinds = (Collector,) if stage.hears is None else stage.hears
    audio, _ = opened(os.fsencode(brief.song), kinds, ahead=brief.ahead)
    with tempfile.TemporaryDirectory(dir=brief.scratch) as out:
        stage.run(Track(sha256, {"mix": audio}), Path(out))


def _stream(stage: StreamStage[Any, Any], brief: Brief, sha256: str) -> None:
    source = stage.open(os.fsencode(brief.song), limits=DecodeLimits())
    with tempfile.TemporaryDirectory(dir=brief.scratch) as out:
        pieces = iter([Piece(0, sha256, source, Path(out))])
        for outcome in stage.stream(lambda wait: next(pieces, None)):
            outcome.finish()
