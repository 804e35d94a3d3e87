"""AMD's cards, through AMD SMI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

from pipeline.monitoring.gpu import GpuSample, NoAnswer

MODULE = DISTRIBUTION = "amdsmi"
# The library's words for "not on this card": 16 bits of ones by its Python side, 32 by its C side.
_NO_VALUE = (0xFFFF, 0xFFFF_FFFF)


class Amd:
    """Every card.

    Raises:
        NoAnswer: there is no driver, or no card that answers.
    """

    by = DISTRIBUTION
    why = ""

    def __init__(self, smi: ModuleType) -> None:
        self._smi = smi
        try:
            smi.amdsmi_init()
            self._cards = list(self._found())
        except smi.AmdSmiException as error:
            raise NoAnswer(" ".join(str(error).split())) from error
        if not self._cards:
            raise NoAnswer("it sees no card")

    def _found(self) -> Iterator[tuple[str, Any]]:
        for card in self._smi.amdsmi_get_processor_handles():
            name = self._field(self._smi.amdsmi_get_gpu_asic_info, card, "market_name")
            yield name if isinstance(name, str) and name != "N/A" else "AMD GPU", card

    def _asked(self, call: Callable[..., Any], *arguments: object) -> Any:
        """Return an answer; None for what is not supported, not allowed, or failed this time."""
        try:
            return call(*arguments)
        except self._smi.AmdSmiException:
            return None

    def _field(self, call: Callable[..., Any], card: object, name: str) -> Any:
        """Return one entry of an answer; they differ between releases of ROCm."""
        answer = self._asked(call, card)
        return answer.get(name) if answer is not None else None

    def sample(self) -> tuple[GpuSample, ...]:
        """Ask every card."""
        return tuple(self._sample(name, card) for name, card in self._cards)

    def _sample(self, name: str, card: object) -> GpuSample:
        smi = self._smi
        vram = smi.AmdSmiMemoryType.VRAM
        # In bytes; amdsmi_get_gpu_vram_usage gives megabytes.
        used = self._asked(smi.amdsmi_get_gpu_memory_usage, card, vram)
        total = self._asked(smi.amdsmi_get_gpu_memory_total, card, vram)
        return GpuSample(
            name,
            utilisation_percent=_number(
                self._field(smi.amdsmi_get_gpu_activity, card, "gfx_activity")
            ),
            memory_used_bytes=_whole(used),
            memory_total_bytes=_whole(total),
            temperature_c=self._temperature_c(card),
            power_w=self._power_w(card),
        )

    def _temperature_c(self, card: object) -> float | None:
        """Return that of the hottest spot, which is what a card slows down for."""
        smi = self._smi
        now = smi.AmdSmiTemperatureMetric.CURRENT
        for place in (smi.AmdSmiTemperatureType.HOTSPOT, smi.AmdSmiTemperatureType.EDGE):
            celsius = _number(self._asked(smi.amdsmi_get_temp_metric, card, place, now))
            if celsius is not None:
                return celsius
        return None

    def _power_w(self, card: object) -> float | None:
        # Instinct from MI300 on says the first, all others the second. `socket_power` is passed
        # over: in some releases it is microwatts.
        for kind in ("current_socket_power", "average_socket_power"):
            watts = _number(self._field(self._smi.amdsmi_get_power_info, card, kind))
            if watts is not None:
                return watts
        return None

    def close(self) -> None:
        """Let the driver go."""
        with suppress(self._smi.AmdSmiException):
            self._smi.amdsmi_shut_down()


def _number(value: object) -> float | None:
    """Return a number; None for "N/A" and for the values that mean it."""
    return float(value) if isinstance(value, int | float) and value not in _NO_VALUE else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None else None
