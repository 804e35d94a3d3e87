"""Modules that answer as pynvml and amdsmi do, for cards that are not there.

Run as a module it is the process that asks drivers, over the cards that FAKE_CARDS describes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

from pipeline.monitoring.asking import serve
from pipeline.monitoring.find import find
from pipeline.start import tied_to_parent


class FakeError(Exception):
    """What a driver says instead of a value."""


@dataclass
class Card:
    """One card. An answer that is an exception is raised, one that can be called is called."""

    name: object = "Fake RTX"
    utilisation: object = 87
    used: object = 12_000_000_000
    total: object = 24_000_000_000
    celsius: object = 61
    milliwatts: object = 411_500
    slices: list[Card | None] = field(default_factory=list)

    def lose(self) -> None:
        """Fall off the bus."""
        lost = FakeError("GPU is lost")
        self.utilisation = self.used = self.celsius = self.milliwatts = lost


def _answer(value: object) -> Any:
    if isinstance(value, Exception):
        raise value
    return value() if callable(value) else value


def _module(name: str, members: dict[str, object]) -> ModuleType:
    module = ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    return module


def nvml(cards: list[Card], *, init: object = None, old: bool = False) -> ModuleType:
    """Return a module like pynvml; `old` is one without `nvmlDeviceGetTemperatureV`."""

    def slice_of(card: Card, index: int) -> Card:
        found = card.slices[index]
        if found is None:
            raise FakeError("Not Found")
        return found

    def temperature(card: Card, sensor: int) -> Any:
        assert sensor == 0
        return _answer(card.celsius)

    def refused(card: Card, sensor: int) -> Any:
        raise FakeError("Function Not Found")

    functions: dict[str, object] = {
        "nvmlInit": lambda: _answer(init),
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(cards),
        "nvmlDeviceGetHandleByIndex": lambda index: cards[index],
        "nvmlDeviceGetMaxMigDeviceCount": lambda device: len(device.slices),
        "nvmlDeviceGetMigDeviceHandleByIndex": slice_of,
        "nvmlDeviceGetName": lambda handle: _answer(handle.name),
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(
            gpu=_answer(handle.utilisation), memory=40
        ),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(
            used=_answer(handle.used), total=_answer(handle.total), free=0
        ),
        "nvmlDeviceGetPowerUsage": lambda handle: _answer(handle.milliwatts),
        "nvmlDeviceGetTemperature": temperature if old else refused,
    }
    if not old:
        functions["nvmlDeviceGetTemperatureV"] = temperature
    return _module("pynvml", {"NVMLError": FakeError, "NVML_TEMPERATURE_GPU": 0, **functions})


def smi(
    cards: list[Card], *, power: str = "average_socket_power", hottest: str = "HOTSPOT"
) -> ModuleType:
    """Return a module like amdsmi, of a card that says its power and temperature there alone."""

    def temperature(card: Card, sensor: str, metric: str) -> Any:
        if sensor != hottest:
            raise FakeError("Feature not supported")
        return _answer(card.celsius)

    def powers(card: Card) -> dict[str, object]:
        watts = _answer(card.milliwatts) // 1000
        none = {"current_socket_power": "N/A", "average_socket_power": 0xFFFF_FFFF}
        return {"socket_power": 411_000_000, **none, power: watts}

    functions: dict[str, object] = {
        "amdsmi_init": lambda: None,
        "amdsmi_shut_down": lambda: None,
        "amdsmi_get_processor_handles": lambda: cards,
        "amdsmi_get_gpu_asic_info": lambda handle: {"market_name": _answer(handle.name)},
        "amdsmi_get_gpu_activity": lambda handle: {"gfx_activity": _answer(handle.utilisation)},
        "amdsmi_get_gpu_memory_usage": lambda handle, kind: _answer(handle.used),
        "amdsmi_get_gpu_memory_total": lambda handle, kind: _answer(handle.total),
        "amdsmi_get_temp_metric": temperature,
        "amdsmi_get_power_info": powers,
    }
    kinds = {
        "AmdSmiMemoryType": SimpleNamespace(VRAM="VRAM"),
        "AmdSmiTemperatureMetric": SimpleNamespace(CURRENT="CURRENT"),
        "AmdSmiTemperatureType": SimpleNamespace(HOTSPOT="HOTSPOT", EDGE="EDGE"),
    }
    return _module("amdsmi", {"AmdSmiException": FakeError, **kinds, **functions})


def importing(**modules: ModuleType | Exception) -> Callable[[str], ModuleType]:
    """Return what imports these modules; one that is an exception is there and does not load."""

    def load(name: str) -> ModuleType:
        found = modules.get(name, ModuleNotFoundError(f"No module named {name!r}"))
        if isinstance(found, Exception):
            raise found
        return found

    return load


def _lost() -> Card:
    card = Card()
    card.lose()
    return card


def _hang() -> None:
    while True:
        signal.pause()


def _told() -> None:
    raise RuntimeError("a library that raises what it should not")


CARDS: dict[str, Callable[[], list[Card]]] = {
    "well": lambda: [Card(), Card(name="Second")],
    "none": list,
    "lost": lambda: [_lost()],
    "hangs": lambda: [Card(utilisation=_hang)],
    "crashes": lambda: [Card(utilisation=lambda: os.kill(os.getpid(), signal.SIGSEGV))],
    "raises": lambda: [Card(utilisation=_told)],
}

if __name__ == "__main__":
    wire = tied_to_parent(expendable=True)
    serve(wire, find(importing(pynvml=nvml(CARDS[os.environ["FAKE_CARDS"]]()))))
    sys.stdout.flush()
    os._exit(0)
