"""A VGGish of full size with random weights: what loading 290 MB and showing it patches takes.

    python -m benchmarks.full_size_vggish models/

Writes `audioset-vggish-3.pb` and `.json` into a folder, for `pipeline bench tagging --families vggish`
on a machine without the real one. Layers: Hershey and others, "CNN architectures for large-scale audio
classification", ICASSP 2017, as released with AudioSet. Whoever has the real one needs no other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.stages.frozen_graphs import Builder, write_model

_CONVOLUTIONS = ((64,), (128,), (256, 256), (512, 512))
_DENSE = (4096, 4096, 128)


def main() -> None:
    """Write the model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    made = Builder()
    found = made.reshaped("reshape", made.input("model/Placeholder", [-1, 96, 64]), [-1, 96, 64, 1])
    channels = 1
    for block, layers in enumerate(_CONVOLUTIONS):
        for layer, width in enumerate(layers):
            name = f"model/vggish/conv{block}_{layer}"
            kernel = made.random(3, 3, channels, width)
            found = made.convolution(f"{name}/Conv2D", found, kernel)
            found = made.bias(f"{name}/BiasAdd", found, made.random(1, width)[0])
            found = made.add(f"{name}/Relu", "Relu", [found])
            channels = width
        found = made.pooled(f"model/vggish/pool{block}", found, [2, 2], padding="SAME")
    inner = 6 * 4 * channels
    found = made.reshaped("flat", found, [-1, inner])
    for number, width in enumerate(_DENSE):
        found = made.dense(f"model/vggish/fc{number}/MatMul", found, made.random(inner, width))
        found = made.bias(f"model/vggish/fc{number}/BiasAdd", found, made.random(1, width)[0])
        last = number == len(_DENSE) - 1
        name = "model/vggish/embeddings" if last else f"model/vggish/fc{number}/Relu"
        found = made.add(name, "Relu", [found])
        inner = width
    write_model(
        folder / "audioset-vggish-3", made.graph(), [], {"model/vggish/embeddings": "embeddings"}
    )


if __name__ == "__main__":
    main()
