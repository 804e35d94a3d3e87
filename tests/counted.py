"""The shipped stages, counted: every file decoded, stage and graph loaded, and STFT computed.

A registry for NIGHTSHIFT_REGISTRY. A line for each goes to the file NIGHTSHIFT_TEST_CALLS.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stages import STAGES as SHIPPED

STAGES = {name: replace(one, target=f"tests.counted:{name}") for name, one in SHIPPED.items()}


def _counted(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def counted(*args: Any, **options: Any) -> Any:
        with open(os.environ["NIGHTSHIFT_TEST_CALLS"], "a") as calls:
            calls.write(f"{what} {options['n_fft']}\n" if "n_fft" in options else f"{what}\n")
        return call(*args, **options)

    return counted


def __getattr__(name: str) -> Any:
    """Return a stage's class by the stage's name, as a lane asks for it."""
    if name not in SHIPPED:
        raise AttributeError(name)
    _watch()
    module, _, kind = SHIPPED[name].target.partition(":")
    real = getattr(importlib.import_module(module), kind)
    return type(kind, (real,), {"load": _counted(f"load {name}", real.load)})


@functools.cache
def _watch() -> None:
    import librosa

    from stages import (
        analysis,
        chromagrams,
        constant_q,
        decode,
        opening,
        predictions,
        rereading,
        stft,
        tagging,
    )  # fmt: skip
    from stages.graphs import loading

    vars(opening)["opened"] = _counted("open", opening.opened)
    vars(rereading)["decode_into"] = _counted("decode", decode.decode_into)
    vars(predictions)["load_network"] = _counted("graph", loading.load_network)
    # Graphs of the tests' own under the catalogue's names.
    vars(tagging)["check_bytes"] = lambda graph: None
    vars(analysis)["Stft"] = _counted("spectra", stft.Stft)
    vars(chromagrams)["Stft"] = _counted("spectra of a known tuning", stft.Stft)
    vars(chromagrams)["ConstantQChroma"] = _counted("constant-Q", constant_q.ConstantQChroma)
    # Under both names: librosa's own functions call the second.
    librosa.stft = librosa.core.spectrum.stft = _counted("stft", librosa.stft)
