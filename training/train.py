"""Trains the network of `nano.py` on rendered songs; goes on where it stopped."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demucs.hdemucs import HDemucs
from torch import Tensor, nn

from pipeline.music.measures import sdr_db
from pipeline.threads import budget
from training import nano
from training.examples import Songs, batch
from training.music.songs import SAMPLE_RATE_HZ, STEMS, TRAINING, VALIDATION
from training.render import rendered


@dataclass(frozen=True)
class Settings:
    """What decides a training, besides the network and the songs."""

    songs: int = 600
    watched: int = 24  # songs of validation
    steps: int = 7500
    batch: int = 4
    segment_s: float = 3.0
    rate: float = 3e-3  # of learning, at its height
    warm_up_steps: int = 200
    averaged: float = 0.995  # exponential mean of the weights, which is what is kept
    seed: int = 8
    saved_every_steps: int = 100
    watched_every_steps: int = 250


class OtherSettings(Exception):
    """The folder holds a training that was begun with other settings."""


def loss_of(given: Tensor, true: Tensor) -> Tensor:
    """Return the mean absolute error of all stems against the mean absolute value of the mix.

    Each example counts alike, however loud. A logarithm, which would make every stem count alike as
    SDR does, was tried: silent stems then outweigh all others, and the network learns silence.

    Args:
        given: stems, shape `(batch, 4, 2, samples)`.
        true: of the same shape.
    """
    error = (given - true).abs().mean(dim=(1, 2, 3))
    mix = true.sum(1).abs().mean(dim=(1, 2))
    return (error / (mix + 1e-4)).mean()


class Training:
    """A training in its folder: network, optimiser, mean of the weights, and the step they are at.

    Raises:
        OtherSettings: the folder's was begun with others.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # On a CPU one example after another on each core is faster than all cores on each sum.
        self.threads = 1 if self.device.type == "cuda" else budget()
        torch.manual_seed(settings.seed)
        self.settings, self.step, self.seconds = settings, 0, 0.0
        self._checkpoint = folder / "checkpoint.pt"
        self._decides = json.dumps(asdict(settings)) + repr(dict(nano.ARGUMENTS))
        self.network = nano.build().to(self.device).train()
        self._parameters = list(self.network.parameters())
        self._optimiser = torch.optim.AdamW(
            self._parameters, lr=settings.rate, betas=(0.9, 0.99), weight_decay=1e-3
        )
        self.mean = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        if self._checkpoint.exists():
            self._load()

    def learn(self, true: Tensor, pool: ThreadPoolExecutor) -> float:
        """Take one step; return its loss."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.settings.rate * _schedule(self.step, self.settings)
        parts = true.to(self.device).chunk(self.threads)
        found = list(pool.map(self._gradients, parts))
        shares = [len(part) / len(true) for part in parts]
        for number, parameter in enumerate(self._parameters):
            parameter.grad = sum(
                (
                    share * gradients[number]
                    for share, (_, gradients) in zip(shares, found, strict=True)
                ),
                start=torch.zeros_like(parameter),
            )
        nn.utils.clip_grad_norm_(self._parameters, 5.0)
        self._optimiser.step()
        self.step += 1
        kept = min(self.settings.averaged, self.step / (self.step + 10.0))
        for name, value in self.network.state_dict().items():
            self.mean[name].lerp_(value, 1.0 - kept)
        return sum(share * loss for share, (loss, _) in zip(shares, found, strict=True))

    def _gradients(self, true: Tensor) -> tuple[float, tuple[Tensor, ...]]:
        with torch.autocast(self.device.type, torch.bfloat16):
            given = self.network(true.sum(1))
        loss = loss_of(given.float(), true)
        return float(loss.detach()), torch.autograd.grad(loss, self._parameters)

    def averaged(self) -> HDemucs:
        """Return the network with the mean of the weights."""
        network = nano.build().to(self.device).eval()
        network.load_state_dict(self.mean)
        return network

    def save(self) -> None:
        """Keep all that is needed to go on."""
        kept = {
            "decides": self._decides,
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "mean": self.mean,
        }
        part = self._checkpoint.with_name("checkpoint.pt.part")
        torch.save(kept, part)
        part.replace(self._checkpoint)

    def _load(self) -> None:
        kept: dict[str, Any] = torch.load(
            self._checkpoint, map_location=self.device, weights_only=True
        )
        if kept["decides"] != self._decides:
            raise OtherSettings(
                f"{self._checkpoint} was begun with {kept['decides']}, not {self._decides}. "
                "Give another folder, or remove this file to begin anew."
            )
        self.step, self.seconds, self.mean = kept["step"], kept["seconds"], kept["mean"]
        self.network.load_state_dict(kept["network"])
        self._optimiser.load_state_dict(kept["optimiser"])


def _schedule(step: int, settings: Settings) -> float:
    rise = min(1.0, (step + 1) / settings.warm_up_steps)
    return rise * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / settings.steps)))


def _batches(songs: Songs, settings: Settings, first: int) -> Iterator[Tensor]:
    """Give the batch of each step from `first` on, made a step ahead on a thread."""
    samples = round(settings.segment_s * SAMPLE_RATE_HZ)

    def made(step: int) -> Tensor:
        stems = batch(songs, seed=settings.seed, step=step, size=settings.batch, samples=samples)
        return torch.from_numpy(stems)

    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(made, first)
        for step in range(first, settings.steps):
            ready = coming.result()
            coming = ahead.submit(made, step + 1)
            yield ready


@torch.no_grad()
def watched(network: HDemucs, songs: Songs, device: torch.device) -> dict[str, float]:
    """Return the median SDR of each stem, in dB, over a segment from the middle of each song.

    A stem that is 30 dB below the mix there does not count.
    """
    samples = nano.SEGMENT_S * SAMPLE_RATE_HZ
    found: dict[str, list[float]] = {stem: [] for stem in STEMS}
    for song in songs:
        start = (song.shape[-1] - samples) // 2
        true = song[:, :, start : start + samples].astype(np.float32)
        mix = true.sum(axis=0)
        given = network(torch.from_numpy(mix)[None].to(device))[0].cpu().numpy()
        for stem, one, other in zip(STEMS, true, given, strict=True):
            sdr = sdr_db(one, other)
            if sdr is not None and np.square(one).sum() > 1e-3 * np.square(mix).sum():
                found[stem].append(sdr)
    return {stem: round(float(np.median(sdrs)), 2) for stem, sdrs in found.items()}


def train(folder: Path, settings: Settings) -> None:
    """Render songs, train until the last step, write `nano.safetensors`; log to `training.jsonl`.

    Raises:
        OtherSettings: the folder's training was begun with others.
    """
    songs = rendered(folder, TRAINING[: settings.songs])
    held_out = rendered(folder, VALIDATION[: settings.watched])
    training = Training(folder, settings)
    if training.device.type == "cpu":
        torch.set_num_threads(1)
    log = folder / "training.jsonl"
    _drop_what_is_forgotten(log, training.step)
    losses: list[float] = []
    with ThreadPoolExecutor(training.threads) as pool:
        begun = time.monotonic()
        for true in _batches(songs, settings, training.step):
            losses.append(training.learn(true, pool))
            if training.step % settings.watched_every_steps == 0:
                _watch(log, training, losses, held_out)
                losses = []
            now = time.monotonic()
            training.seconds, begun = training.seconds + now - begun, now
            if training.step % settings.saved_every_steps == 0:
                training.save()
    nano.write(training.mean, folder / "nano.safetensors")


def _watch(log: Path, training: Training, losses: Sequence[float], songs: Songs) -> None:
    row = {
        "step": training.step,
        "seconds": round(training.seconds),
        "loss": round(float(np.mean(losses)), 4),
        "sdr_db": watched(training.averaged(), songs, training.device),
    }
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


def _drop_what_is_forgotten(log: Path, step: int) -> None:
    """Drop rows of steps after the checkpoint: they are made again."""
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        log.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
