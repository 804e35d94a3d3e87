"""Would features and tagging models be quicker on the card? Transforms and patches, there and here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.bench.gpu.brief import Row
from pipeline.bench.gpu.loaded import Loaded
from pipeline.bench.gpu.trying import tried
from stages.base import StageBlocked
from stages.predictions import LoadedFamily
from stages.settings import TaggingSettings
from stages.stft import FRAME_SAMPLES, HOP_SAMPLES, Stft
from stages.tagging_models import FamilyFiles, chosen_models

_BATCHES = (4, 16, 64, 256)
_LONGEST_S = 300.0
_TIMES = 3


def measure(loaded: Loaded) -> Iterator[Row]:
    """Give `times_real_time` of a transform of the first song, and of each family's patches.

    `stft`: magnitudes as the feature stages take them, from and to the host's memory; ours on one
    core. `tagging`: a backbone and its heads, by provider of ONNX Runtime and patches at once.
    """
    mono = _mono(loaded)
    audio_s = len(mono) / loaded.model.sample_rate_hz
    works: dict[str, Callable[[], object]] = {"ours, one core": partial(_ours, mono)}
    for dtype in (torch.float64, torch.float32):
        name = f"torch, {str(dtype).rpartition('.')[2]}"
        works[name] = partial(_by_torch, mono, dtype, loaded.device)
    for name, work in works.items():
        facts = {"kind": "part", "part": "stft", "format": name}
        yield tried(facts, partial(_timed, loaded, work, audio_s))
    yield from _tagging(loaded)


def _mono(loaded: Loaded) -> NDArray[np.float32]:
    longest = round(_LONGEST_S * loaded.model.sample_rate_hz)
    mono = np.concatenate([block.mean(0) for block in loaded.mix(0).blocks()])
    return mono[:longest]


def _timed(loaded: Loaded, work: Callable[[], object], audio_s: float) -> Row:
    work()  # plans and kernels are chosen at first use
    seconds = min(loaded.seconds(work) for _ in range(_TIMES))
    return {"seconds": seconds, "times_real_time": audio_s / seconds}


def _ours(mono: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    stft = Stft()
    return [*stft.add(mono), *stft.end()]


def _by_torch(mono: NDArray[np.float32], dtype: torch.dtype, device: str) -> NDArray[np.float32]:
    spectra = torch.stft(
        torch.from_numpy(mono).to(device).to(dtype),
        FRAME_SAMPLES,
        HOP_SAMPLES,
        window=torch.hann_window(FRAME_SAMPLES, dtype=dtype, device=device),
        pad_mode="constant",
        return_complex=True,
    )
    magnitudes: NDArray[np.float32] = spectra.abs().T.float().cpu().numpy()
    return magnitudes


def _tagging(loaded: Loaded) -> Iterator[Row]:
    try:
        families = chosen_models(TaggingSettings())
    except StageBlocked as error:
        yield {"kind": "part", "part": "tagging", "problem": str(error)}
        return
    for device in dict.fromkeys(("cpu", loaded.device)):
        for files in families:
            for batch in _BATCHES:
                facts = {
                    "kind": "part",
                    "part": f"tagging, {files.family.name}, {batch} at once",
                    "device": device,
                }
                yield tried(facts, partial(_looked, loaded, files, device, batch))


def _looked(loaded: Loaded, files: FamilyFiles, device: str, batch: int) -> Row:
    models, family = LoadedFamily(files, backend="onnx", device=device), files.family
    shape = (batch, family.patch_frames, family.front.bands)
    patches = np.random.default_rng(0).random(shape, dtype=np.float32)
    found = _timed(loaded, partial(models.look, patches), batch * family.hop_s)
    return {**found, "format": models.runtimes()[family.backbone]}
