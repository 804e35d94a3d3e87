"""The best way that Demucs itself offers: the model loaded once, `apply_model` for each file.

    python -P -m pipeline.bench.apply_model <repository> <name> <device> <out> <file>…

Writes `<out>/<file's name>/<stem>.wav` in 32-bit floats, neither scaled nor clipped: the reference
for ours. A file is read and brought to the model's rate as a run does it, since two MP3 decoders or
two resamplers differ by more than two separations; what is compared is the separation alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
from demucs.apply import BagOfModels, apply_model
from demucs.pretrained import get_model
from numpy.typing import NDArray

from stages.decode import decode
from stages.downmix import to_stereo


def main() -> None:
    """Separate every file."""
    repository, name, device, out, *files = sys.argv[1:]
    model = get_model(name, repo=Path(repository)).to(device)
    for file in map(Path, files):
        folder = Path(out) / file.name
        folder.mkdir(parents=True)
        stems = separated(model, read(file, model.samplerate), device=device)
        for source, stem in zip(model.sources, stems, strict=True):
            soundfile.write(folder / f"{source}.wav", stem.T, model.samplerate, subtype="FLOAT")


def read(file: Path, sample_rate_hz: int) -> NDArray[np.float32]:
    """Return a file's stereo mix at a rate, shape `(2, samples)`."""
    return to_stereo(decode(os.fsencode(file)).audio.at_rate(sample_rate_hz))


def separated(model: BagOfModels, mix: NDArray[np.float32], *, device: str) -> NDArray[np.float32]:
    """Return the stems, shape `(sources, 2, samples)`: what Demucs' `Separator` does, without shifts."""
    wave = torch.from_numpy(mix)
    mono = wave.mean(0)
    mean, std = mono.mean(), mono.std() + 1e-8
    stems = apply_model(model, ((wave - mean) / std)[None], shifts=0, overlap=0.25, device=device)
    made: NDArray[np.float32] = (stems[0] * std + mean).numpy()
    return made


if __name__ == "__main__":
    main()
