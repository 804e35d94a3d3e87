"""Calls of Essentia's algorithms, as a script makes them, on samples in memory."""

from __future__ import annotations

import os
from functools import partial

import essentia
import essentia.standard as es

from pipeline.threading_analysis.brief import Brief
from pipeline.threading_analysis.work import Work
from stages.decode import decode

essentia.log.infoActive = False
essentia.log.warningActive = False

_RATE_HZ = 44_100


def work(brief: Brief) -> Work:
    """Load the music, at the rate that Essentia's algorithms are made for; make the algorithm."""
    mono = decode(os.fsencode(brief.song)).audio.mono(_RATE_HZ)
    algorithm = getattr(es, brief.name.removeprefix("essentia."))()
    return Work(partial(algorithm, mono))
