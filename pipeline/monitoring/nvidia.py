"""NVIDIA's cards, through NVML."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

from pipeline.monitoring.gpu import GpuSample, NoAnswer

MODULE = "pynvml"
DISTRIBUTION = "nvidia-ml-py"


class Nvidia:
    """Every card and, of one in MIG mode, every slice after it.

    A slice says its memory alone: NVML has no utilisation where MIG is on, and temperature and
    power are the card's.

    Raises:
        NoAnswer: there is no driver, or no card that answers.
    """

    by = DISTRIBUTION
    why = ""

    def __init__(self, nvml: ModuleType) -> None:
        self._nvml = nvml
        try:
            nvml.nvmlInit()
            self._cards = list(self._found())
        except nvml.NVMLError as error:
            raise NoAnswer(str(error)) from error
        if not self._cards:
            raise NoAnswer("it sees no card")

    def _found(self) -> Iterator[tuple[str, Any]]:
        nvml = self._nvml
        for number in range(nvml.nvmlDeviceGetCount()):
            card = self._asked(nvml.nvmlDeviceGetHandleByIndex, number)
            if card is None:
                continue  # a card may be lost, or another user's, beside one that is well
            yield self._name(card), card
            # Zero where MIG is off; places without a slice raise.
            for place in range(self._asked(nvml.nvmlDeviceGetMaxMigDeviceCount, card) or 0):
                part = self._asked(nvml.nvmlDeviceGetMigDeviceHandleByIndex, card, place)
                if part is not None:
                    yield self._name(part), part

    def _name(self, card: object) -> str:
        name = self._asked(self._nvml.nvmlDeviceGetName, card) or "NVIDIA GPU"
        return name.decode(errors="replace") if isinstance(name, bytes) else str(name)

    def _asked(self, call: Callable[..., Any], *arguments: object) -> Any:
        """Return an answer; None for what is not supported, not allowed, or failed this time."""
        try:
            return call(*arguments)
        except self._nvml.NVMLError:
            return None

    def sample(self) -> tuple[GpuSample, ...]:
        """Ask every card."""
        return tuple(self._sample(name, card) for name, card in self._cards)

    def _sample(self, name: str, card: object) -> GpuSample:
        nvml = self._nvml
        rates = self._asked(nvml.nvmlDeviceGetUtilizationRates, card)
        memory = self._asked(nvml.nvmlDeviceGetMemoryInfo, card)
        milliwatts = self._asked(nvml.nvmlDeviceGetPowerUsage, card)
        return GpuSample(
            name,
            utilisation_percent=float(rates.gpu) if rates is not None else None,
            memory_used_bytes=int(memory.used) if memory is not None else None,
            memory_total_bytes=int(memory.total) if memory is not None else None,
            temperature_c=self._temperature_c(card),
            power_w=milliwatts / 1000 if milliwatts is not None else None,
        )

    def _temperature_c(self, card: object) -> float | None:
        # The old call is to go with CUDA 14, and older drivers and bindings do not know the new one.
        nvml, celsius = self._nvml, None
        if hasattr(nvml, "nvmlDeviceGetTemperatureV"):
            celsius = self._asked(nvml.nvmlDeviceGetTemperatureV, card, nvml.NVML_TEMPERATURE_GPU)
        if celsius is None and hasattr(nvml, "nvmlDeviceGetTemperature"):
            celsius = self._asked(nvml.nvmlDeviceGetTemperature, card, nvml.NVML_TEMPERATURE_GPU)
        return float(celsius) if celsius is not None else None

    def close(self) -> None:
        """Let the driver go."""
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()
