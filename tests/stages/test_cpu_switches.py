"""The switches of a process: taken only where the numbers stay those of float32."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from stages import cpu_switches
from stages.cpu_switches import multiply_with_onednn

SWITCH: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = SWITCH.fp32_precision
    yield
    SWITCH.fp32_precision = before


def test_products_go_another_way_only_if_they_are_float32_s() -> None:
    before = SWITCH.fp32_precision

    taken = multiply_with_onednn()

    assert SWITCH.fp32_precision == ("bf16" if taken else before)
    assert cpu_switches._error_of_products() < 1e-6


def test_a_processor_that_would_compute_less_exactly_is_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = SWITCH.fp32_precision
    monkeypatch.setattr(cpu_switches, "_error_of_products", lambda: 3e-3)  # that of bfloat16

    assert not multiply_with_onednn()
    assert SWITCH.fp32_precision == before


_FAULTS = """
import resource, torch
from stages.cpu_switches import keep_memory
def faults():
    for _ in range(3):
        torch.ones(16_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16_000_000)  # 64 MB, which libc maps and gives back each time
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given_back = faults()
if not keep_memory():
    raise SystemExit("this is no glibc")
print(given_back, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_memory_that_is_kept_is_not_asked_for_again() -> None:
    said = subprocess.check_output([sys.executable, "-c", _FAULTS], text=True)

    given_back, kept = map(int, said.split())

    assert kept < given_back / 10
