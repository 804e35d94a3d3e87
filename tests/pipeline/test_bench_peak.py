"""The operations of a model and those that the peak is measured with, against torch's own count."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipeline.bench import peak
from pipeline.bench.flops import flop_of_segment
from tests.models import random_network

RATE_HZ = 44_100


def test_the_operations_of_a_model_are_those_that_torch_counts() -> None:
    network = random_network(
        {"sources": ["a", "b"], "channels": 8, "bottom_channels": 16, "dconv_mode": 3,
         "t_layers": 2, "t_heads": 2, "segment": 1},
        seed=3,
    )  # fmt: skip

    counted = flop_of_segment(network, RATE_HZ)

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # what it fuses, torch does not count
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(
            SDPBackend.MATH
        ):  # fmt: skip
            network(torch.rand(1, 2, RATE_HZ))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    assert counted == counter.get_total_flops()


def test_the_operations_that_the_peak_is_measured_with_are_those_that_torch_counts() -> None:
    for flop, work in peak._shapes(torch.float32, "cpu"):
        with FlopCounterMode(display=False) as counter:
            work()

        assert flop == counter.get_total_flops()
