"""The families of Essentia's models: what each hears of a source, and in which pieces.

Alonso-Jiménez and others, "TensorFlow audio models in Essentia", ICASSP 2020. Frames and patches are
those of Essentia's own calls: `TensorflowPredictMusiCNN`, `TensorflowPredictVGGish` and
`TensorflowPredictEffnetDiscogs`, with their defaults.
"""

from __future__ import annotations

from dataclasses import dataclass

RATE_HZ = 16_000


@dataclass(frozen=True)
class Front:
    """How the spectra that a family looks at are made: `log_spectra.py`.

    Every frame is centred on a multiple of the hop. `frame_samples` of it are under the window, and
    the transform has 512.
    """

    frame_samples: int
    hop_samples: int
    bands: int


MUSICNN_FRONT = Front(frame_samples=512, hop_samples=256, bands=96)
VGGISH_FRONT = Front(frame_samples=400, hop_samples=160, bands=64)


@dataclass(frozen=True)
class Family:
    """A backbone and how it is fed.

    `predictions` is what the backbone's own classes are called before their name, where it has any;
    `batch` the patches that its graph wants at once, None for any number.
    """

    name: str
    backbone: str
    front: Front
    patch_frames: int
    hop_frames: int
    predictions: str
    batch: int | None = None

    @property
    def patch_s(self) -> float:
        """Seconds that a patch covers, from its first frame's middle to beyond its last."""
        return self.patch_frames * self.front.hop_samples / RATE_HZ

    @property
    def hop_s(self) -> float:
        """Seconds from one patch to the next."""
        return self.hop_frames * self.front.hop_samples / RATE_HZ


MUSICNN = Family("musicnn", "msd-musicnn-1", MUSICNN_FRONT, 187, 93, "tag")
VGGISH = Family("vggish", "audioset-vggish-3", VGGISH_FRONT, 96, 93, "sound")
EFFNET = Family("effnet", "discogs-effnet-bs64-1", MUSICNN_FRONT, 128, 62, "style", batch=64)

FAMILIES = {family.name: family for family in (MUSICNN, VGGISH, EFFNET)}
"""In the order in which several of them stand side by side."""
