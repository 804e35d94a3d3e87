"""Published weights: where each file is, pinned to a revision and a SHA-256, and whose it is.

What has no address ships with the package. Facts only; nothing here reads, loads or fetches. What fetches is `pipeline models`.
"""

from __future__ import annotations

from stages.published import (
    DEMUCS_WEIGHTS,
    ESSENTIA,
    ESSENTIA_MODELS,
    NIGHTSHIFT_MODELS,
    Kind,
    PublishedFile,
    PublishedModel,
)


def _demucs(
    name: str,
    what_for: str,
    *files: tuple[str, str],
    at: str,
    bag: tuple[tuple[float, ...], ...] | None = None,
    size_bytes: int | None = None,
) -> PublishedModel:
    return PublishedModel(
        name=name,
        kind=Kind.SEPARATION,
        what_for=what_for,
        folder=name,
        files=tuple(
            PublishedFile(
                f"{signature}.safetensors",
                f"https://huggingface.co/{at}/{signature}.safetensors",
                sha256,
                size_bytes,
            )
            for signature, sha256 in files
        ),
        licence=DEMUCS_WEIGHTS,
        bag=bag,
    )


def _essentia(
    name: str,
    what_for: str,
    sha256: str | None,
    *,
    at: str,
    on: str | None = None,
    size_bytes: int | None = None,
) -> PublishedModel:
    """Return a model and the .json beside it, which names its nodes and classes. Of no .json, and
    of few models, is the SHA-256 published."""
    base = f"https://essentia.upf.edu/models/{at}/{name}"
    return PublishedModel(
        name=name,
        kind=Kind.EMBEDDING if on is None else Kind.HEAD,
        what_for=what_for,
        folder=ESSENTIA,
        # The graph last: by it the stage sees that a model is here, and then wants both.
        files=(
            PublishedFile(f"{name}.json", f"{base}.json"),
            PublishedFile(f"{name}.pb", f"{base}.pb", sha256, size_bytes),
        ),
        licence=ESSENTIA_MODELS,
        needs=() if on is None else (on,),
    )


_MUSICNN, _VGGISH, _EFFNET = "msd-musicnn-1", "audioset-vggish-3", "discogs-effnet-bs64-1"


def _head(
    task: str,
    what_for: str,
    sha256: str | None,
    *,
    on: str,
    folder: str | None = None,
    version: int = 1,
    size_bytes: int | None = None,
) -> PublishedModel:
    embedding = {_MUSICNN: "msd-musicnn", _VGGISH: "audioset-vggish", _EFFNET: "discogs-effnet"}
    return _essentia(
        f"{task}-{embedding[on]}-{version}",
        what_for,
        sha256,
        at=f"classification-heads/{folder or task}",
        on=on,
        size_bytes=size_bytes,
    )


# What heads of every family tell, with the hash of MusiCNN's.
_TASKS = (
    (
        "danceability",
        "danceability",
        "874a4b86afc9e12de3f15a47baf9ff1ac676ace109c56203e26103f2259eb95e",
    ),
    (
        "tonal_atonal",
        "tonal or atonal",
        "45a36e68a70a6692a60434ee3ae81df9bd5c402204fb04c3355c39f9e3d24aaf",
    ),
    (
        "voice_instrumental",
        "voice or instrumental",
        "eb762cc7ee6751b2ea32179d3716e2d60a1d1a9e615b7e3b8be8a6f79d71675e",
    ),
    (
        "mood_happy",
        "mood: happy",
        "d7382bc60304ea4578c298222968cd8d600c31252c7bf3e90b1f728ebb3ec36d",
    ),
    ("mood_sad", "mood: sad", "a5e908cf7f59e8c379ff7c7d138dd85416985fddaebb5de14ca4193200411f61"),
    (
        "mood_relaxed",
        "mood: relaxed",
        "1252d28ca7d2204e34e0cdf84a00aa2bc9627a87bdcf923df3aad39cfa69d2d9",
    ),
    (
        "mood_aggressive",
        "mood: aggressive",
        "3b6eb5645e4b47a2ceb28ef3f8612f224640c583048770791b9fc6e8e5627a67",
    ),
    (
        "mood_party",
        "mood: party",
        "765b096300ee1d92103cb0a122fc12c33882166fb94d37875284e82ce06322a1",
    ),
    (
        "mood_acoustic",
        "mood: acoustic",
        "519ee3af8210fe32e021002a0094546aeb6fb5a59d22b7d53c48e4ee1ac9e6cc",
    ),
    (
        "mood_electronic",
        "mood: electronic",
        "86c109b504fc6cf666c7513d684381a594218a552c3c954f212dd3a9d0c6cdc5",
    ),
)

_FOUR = "four stems: drums, bass, other, vocals"

CATALOGUE: dict[str, PublishedModel] = {
    model.name: model
    for model in (
        _demucs(
            "htdemucs",
            f"{_FOUR}; the default",
            ("955717e8", "d9fa14133cfcc034a6758923bb3a8ca9f8dfd0b582134643bbf83f72c17576dd"),
            at="adefossez/HTDemucs/resolve/bf35a81b663819a8255c8fefee17f9d812b786b5",
        ),
        _demucs(
            "htdemucs_ft",
            f"{_FOUR}; one tuned model for each",
            ("f7e0c4bc", "2c85ab3c62dd6edd8e0b965e38b16fd1cdde357cc25de6b6bc9ce7c83f60925f"),
            ("d12395a8", "5b01a97567ae9a3178a6236fb520251045c03eb8834bc8c24a4eec11d6c8fb56"),
            ("92cfc3b6", "a241863551f30d01c42bd7b97da40839922ead3acb0f1fcab25682f55b4eeb59"),
            ("04573f0d", "68854b0d7c2b3274723b5761f6fd9f5aec5f1bcd3f0de7c1669546fdb7871b7c"),
            at="adefossez/HTDemucs-ft/resolve/478be8a68f85418addd6f7baefd4be76522a4034",
            # Each is a whole model of which only the stem it was tuned for counts.
            bag=(
                (1.0, 0.0, 0.0, 0.0),  # drums
                (0.0, 1.0, 0.0, 0.0),  # bass
                (0.0, 0.0, 1.0, 0.0),  # other
                (0.0, 0.0, 0.0, 1.0),  # vocals
            ),
        ),
        _demucs(
            "htdemucs_6s",
            "six stems: those four, guitar and piano",
            ("5c90dfd2", "d2a1745f0744721f6b8ca5bf469b67c651ea5ed1b52998cab033b2158609d411"),
            at="adefossez/HTDemucs-6s/resolve/3c5ee475be622df764938de97e4281a7b07ffa58",
            size_bytes=54_885_744,
        ),
        PublishedModel(
            name="nano",
            kind=Kind.SEPARATION,
            what_for=f"{_FOUR}; small, for trying out; ships with Nightshift",
            folder="bundled",
            files=(
                PublishedFile(
                    "nano.safetensors",
                    url="",
                    sha256="8f905b70e83a3435954a676c280ee786ce5e73f52efa6b1306dc11555410eb15",
                    size_bytes=5_115_824,
                ),
            ),
            licence=NIGHTSHIFT_MODELS,
        ),
        _essentia(
            _MUSICNN,
            "MusiCNN, trained on the Million Song Dataset",
            "cdea0722bcee7f731286843f2233e3aa69887bb5c3e2dce011eff55f38d04f3e",
            at="feature-extractors/musicnn",
            size_bytes=3_197_999,
        ),
        *(_head(task, what_for, sha256, on=_MUSICNN) for task, what_for, sha256 in _TASKS),
        _head(
            "deam",
            "valence and arousal, trained on DEAM",
            "beb5eeb0909266eeb78b8d6bb1323b10829cf2fe55e3c01a13fa1846fa98b371",
            on=_MUSICNN,
            version=2,
        ),
        _head(
            "emomusic",
            "valence and arousal, trained on emoMusic",
            "fcfb486510213b35e0a691975325f58170f648ad4a02d749bce790da13ded43b",
            on=_MUSICNN,
            version=2,
            size_bytes=82_460,
        ),
        _essentia(
            _VGGISH,
            "VGGish, trained on AudioSet; about 290 MB",
            None,
            at="feature-extractors/vggish",
        ),
        *(_head(task, what_for, None, on=_VGGISH) for task, what_for, _ in _TASKS),
        _head("deam", "valence and arousal, trained on DEAM", None, on=_VGGISH, version=2),
        _head("emomusic", "valence and arousal, trained on emoMusic", None, on=_VGGISH, version=2),
        _essentia(
            _EFFNET,
            "EfficientNet, trained on Discogs",
            "3ed9af50d5367c0b9c795b294b00e7599e4943244f4cbd376869f3bfc87721b1",
            at="feature-extractors/discogs-effnet",
        ),
        _head(
            "genre_discogs400",
            "400 styles of Discogs",
            "3885ba078a35249af94b8e5e4247689afac40deca4401a4bc888daf5a579c01c",
            on=_EFFNET,
        ),
        _head(
            "danceability",
            "danceability",
            "e1251f02cdc846445e2bc1fb3fe9963e32728c5c000e009188ae47c8963cb4c4",
            on=_EFFNET,
        ),
        *(
            _head(task, what_for, None, on=_EFFNET)
            for task, what_for, _ in _TASKS
            if task != "danceability"
        ),
        _head("mtg_jamendo_moodtheme", "56 moods and themes of Jamendo", None, on=_EFFNET),
        _head("mtg_jamendo_instrument", "40 instruments of Jamendo", None, on=_EFFNET),
        _head(
            "approachability_regression",
            "approachability",
            "7ffc208865426fb3aa2842f676b42fc6128282088c9b1d1fd2aba14b17cd121c",
            on=_EFFNET,
            folder="approachability",
        ),
        _head(
            "engagement_regression",
            "engagement",
            "43031d40b3a380e1995c8495a108d14ca74f620d924fad9b28df4189c84d20c5",
            on=_EFFNET,
            folder="engagement",
        ),
    )
}
