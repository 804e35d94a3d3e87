"""Our forward pass of HTDemucs against Demucs' own, on networks whose every branch is heard."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from demucs.hdemucs import HDemucs
from torch import Tensor

from stages.htdemucs import normed
from stages.htdemucs.forward import Forward, fits
from stages.htdemucs.normed import RowNorm, covariance
from stages.htdemucs.precision import PRECISIONS, PrecisionName
from tests.models import SMALL, random_network

pytestmark = pytest.mark.usefixtures("one_thread")

# A fifth of a second: all layers, few samples.
BRIEF = {**SMALL, "segment": Fraction(1, 2)}


def _mix(network: object, *, batch: int = 1) -> Tensor:
    """Noise on tones and an offset: a mean that is forgotten shows."""
    samples = int(network.segment * network.samplerate)  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(3)
    noise = 0.1 * torch.randn(batch, 2, samples, generator=generator)
    return noise + 0.5 * torch.sin(torch.arange(samples) * 0.01) + 0.05


def _sdr_db(expected: Tensor, found: Tensor) -> float:
    error = (expected.double() - found.double()).square().sum()
    return float(10 * torch.log10(expected.double().square().sum() / error))


def _both(
    arguments: dict[str, object], precision: PrecisionName = "exact"
) -> tuple[Tensor, Tensor]:
    network = random_network(arguments, seed=1)
    assert fits(network)
    mix = _mix(network)
    with torch.inference_mode():
        return network(mix), Forward(network, PRECISIONS[precision])(mix)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"segment": Fraction(39, 20)},
        {"segment": Fraction(12_345, 44_100)},
        {"bottom_channels": 32},
        {"t_layers": 3},
        {"t_layers": 2, "t_cross_first": True},
        {"t_layers": 0},
        {"t_norm_in": False, "t_norm_out": False},
        {"t_norm_in": False, "t_norm_in_group": True},
        {"t_group_norm": True},
        {"t_layer_scale": False},
        {"t_weight_pos_embed": 0.3, "t_max_period": 500.0},
        {"norm_starts": 1, "norm_groups": 2},
        {"dconv_mode": 0},
        {"dconv_mode": 1, "dconv_depth": 1},
        {"freq_emb": 0.0},
        {"channels": 12, "sources": ["drums", "bass", "other", "vocals", "guitar", "piano"]},
        {"context": 0, "context_enc": 1},
        {"nfft": 2048},
    ],
    ids=str,
)
def test_it_gives_what_demucs_gives(arguments: dict[str, object]) -> None:
    expected, found = _both({**BRIEF, **arguments})

    assert found.shape == expected.shape
    assert _sdr_db(expected, found) >= 110


@pytest.mark.parametrize(
    "arguments",
    [
        {"t_emb": "cape"},
        {"t_norm_first": False},
        {"t_gelu": False},
        {"t_group_norm": 2},
        {"cac": False},
        {"rewrite": False},
        {"multi_freqs": [0.2], "multi_freqs_depth": 1},
        {"use_train_segment": False},
    ],
    ids=str,
)
def test_what_it_does_not_know_is_left_to_demucs(arguments: dict[str, object]) -> None:
    assert not fits(random_network({**BRIEF, **arguments}, seed=1))


def test_another_class_is_left_to_demucs() -> None:
    assert not fits(HDemucs(["a", "b"], channels=4))


@pytest.mark.parametrize(
    ("precision", "least_db", "most_db"), [("balanced", 55, 90), ("fast", 25, 50)]
)
def test_a_lower_precision_is_as_far_off_as_it_says(
    precision: PrecisionName, least_db: float, most_db: float
) -> None:
    expected, found = _both({**BRIEF, "t_layers": 2, "channels": 16}, precision)

    assert found.dtype is torch.float32
    assert least_db <= _sdr_db(expected, found) <= most_db


def test_a_row_depends_on_nothing_beside_it() -> None:
    network = random_network(BRIEF, seed=1)
    forward, mix = Forward(network), _mix(network, batch=3)
    others = torch.stack([mix[1], torch.zeros_like(mix[0]), torch.full_like(mix[0], torch.nan)])

    with torch.inference_mode():
        beside_music, beside_nothing = forward(mix)[1], forward(others)[0]

    assert torch.equal(beside_music, beside_nothing)
    assert not torch.equal(beside_music, forward(mix)[0])


def test_the_network_itself_stays_where_it_is() -> None:
    """A device may have no room for one segment, and the CPU takes it with the network that is kept."""
    network = random_network(BRIEF, seed=1)

    Forward(network).to("meta")

    kept = [*network.named_parameters(), *network.named_buffers()]
    assert [name for name, tensor in kept if tensor.device.type != "cpu"] == []


def test_the_network_itself_is_left_as_it_was() -> None:
    network = random_network({**BRIEF, "norm_starts": 1, "norm_groups": 2}, seed=1)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}

    Forward(network, PRECISIONS["fast"])

    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(before[name].dtype == after[name].dtype for name in before)


@pytest.mark.parametrize("length", [169, 1024, 1025, 21_499])
@pytest.mark.parametrize("channels", [1, 6])
def test_a_norm_is_exact_where_the_mean_is_twenty_deviations(length: int, channels: int) -> None:
    norm = torch.nn.GroupNorm(1, channels)
    torch.nn.init.uniform_(norm.weight)
    torch.nn.init.uniform_(norm.bias)
    rows = 0.2 + 0.01 * torch.randn(2, length, channels, generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        expected = norm.double()(rows.double().transpose(1, 2)).transpose(1, 2)
        found = RowNorm(norm, torch.float32)(rows)

    assert _sdr_db(expected, found) >= 115


@pytest.mark.parametrize("length", [1, 336, 1024, 21_499])
def test_a_covariance_is_that_of_float64(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 3 + torch.randn(2, length, 4, generator=torch.Generator().manual_seed(0))
    centred = rows.double() - rows.double().mean(1, keepdim=True)

    mean, products = covariance(rows)

    assert torch.allclose(mean, rows.double().mean(1), rtol=1e-6)
    expected = centred.transpose(1, 2) @ centred / length
    assert torch.allclose(products, expected, rtol=0, atol=1e-6)
    monkeypatch.setattr(normed, "_SHORT", 100)
    assert torch.allclose(covariance(rows)[1], expected, rtol=0, atol=1e-6)
