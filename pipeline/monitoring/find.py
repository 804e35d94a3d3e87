"""Which library sees cards here.

To load and ask one can crash or hang with its driver: only a process that may die does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType

from pipeline.installed import version_of
from pipeline.monitoring import amd, nvidia
from pipeline.monitoring.gpu import Gpus, GpuSample, NoAnswer, NoGpus

_KINDS: tuple[tuple[str, str, Callable[[ModuleType], Gpus]], ...] = (
    (nvidia.MODULE, nvidia.DISTRIBUTION, nvidia.Nvidia),
    (amd.MODULE, amd.DISTRIBUTION, amd.Amd),
)
NOT_INSTALLED = f"neither {nvidia.DISTRIBUTION} nor {amd.DISTRIBUTION} is installed"
# amdsmi without ROCm's library ends in a KeyError, beside one of another release in an
# AttributeError (a symbol that is not there).
_WILL_NOT_LOAD = (ImportError, OSError, KeyError, AttributeError)


class Several:
    """The cards of several libraries: an AMD processor's own beside an NVIDIA card, for example."""

    why = ""

    def __init__(self, parts: Sequence[Gpus]) -> None:
        self._parts = parts
        self.by = ", ".join(part.by for part in parts)

    def sample(self) -> tuple[GpuSample, ...]:
        """Ask every card of every library."""
        return tuple(card for part in self._parts for card in part.sample())

    def close(self) -> None:
        """Let the drivers go."""
        for part in self._parts:
            part.close()


def any_installed() -> bool:
    """Say whether there is a library to ask at all; loads none."""
    return any(version_of(distribution) for _, distribution, _ in _KINDS)


def find(importing: Callable[[str], ModuleType] = import_module) -> Gpus:
    """Return the cards of whatever is installed and answers, or none and why."""
    parts, reasons = [], []
    for module, distribution, kind in _KINDS:
        try:
            parts.append(kind(importing(module)))
        except ModuleNotFoundError:
            reasons.append(f"{distribution} is not installed")
        except NoAnswer as error:
            reasons.append(f"{distribution}: {error}")
        except _WILL_NOT_LOAD as error:
            reasons.append(f"{distribution} cannot be loaded: {type(error).__name__}: {error}")
    return Several(parts) if parts else NoGpus("; ".join(reasons))
