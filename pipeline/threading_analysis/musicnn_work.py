"""`TensorflowPredictMusiCNN`, as Essentia's documentation calls it, on samples in memory."""

from __future__ import annotations

import os
from functools import partial

import essentia
import essentia.standard as es

from pipeline.threading_analysis.brief import Brief
from pipeline.threading_analysis.work import Work
from stages.decode import decode
from stages.settings import TaggingSettings
from stages.tagging_models import chosen_models

essentia.log.infoActive = False
essentia.log.warningActive = False

_RATE_HZ = 16_000


def work(brief: Brief) -> Work:
    """Load the music and the graph."""
    settings = TaggingSettings.model_validate({"families": ["musicnn"], "heads": []})
    (chosen,) = chosen_models(settings)
    graph = chosen.backbone
    call = es.TensorflowPredictMusiCNN(
        graphFilename=str(graph.path), input=graph.input, output=graph.predictions
    )
    return Work(partial(call, decode(os.fsencode(brief.song)).audio.mono(_RATE_HZ)))
