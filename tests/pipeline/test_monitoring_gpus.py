"""What the libraries of the drivers say, in one form, and what becomes of all that they do not say."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module, metadata, util
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.monitoring import amd, find, nvidia
from pipeline.monitoring.gpu import GpuSample, NoAnswer
from tests.fake_drivers import Card, FakeError, importing, nvml, smi

GB = 10**9
WHOLE = GpuSample(
    "Fake RTX",
    utilisation_percent=87.0,
    memory_used_bytes=12 * GB,
    memory_total_bytes=24 * GB,
    temperature_c=61.0,
    power_w=411.5,
)
LOST = FakeError("GPU is lost")
NOT_SUPPORTED = FakeError("Not Supported")


# ---- NVIDIA


def test_an_nvidia_card_says_all_in_our_units() -> None:
    gpus = nvidia.Nvidia(nvml([Card()]))

    assert gpus.sample() == (WHOLE,)


def test_a_library_without_the_new_call_for_temperatures_is_asked_by_the_old_one() -> None:
    gpus = nvidia.Nvidia(nvml([Card()], old=True))

    assert gpus.sample() == (WHOLE,)


@pytest.mark.parametrize("name", ["Fake RTX", b"Fake RTX"])
def test_a_card_s_name_is_text_whether_the_library_gives_bytes_or_not(name: object) -> None:
    assert nvidia.Nvidia(nvml([Card(name=name)])).sample()[0].name == "Fake RTX"


def test_a_card_that_does_not_tell_its_name_has_one_all_the_same() -> None:
    assert nvidia.Nvidia(nvml([Card(name=LOST)])).sample()[0].name == "NVIDIA GPU"


@pytest.mark.parametrize(
    ("silent", "missing"),
    [
        ("utilisation", ["utilisation_percent"]),
        ("used", ["memory_used_bytes", "memory_total_bytes"]),
        ("celsius", ["temperature_c"]),
        ("milliwatts", ["power_w"]),
    ],
)
def test_a_value_that_a_card_does_not_support_is_none_and_the_others_are_there(
    silent: str, missing: list[str]
) -> None:
    gpus = nvidia.Nvidia(nvml([Card(**{silent: NOT_SUPPORTED})]))  # type: ignore[arg-type]

    (sample,) = gpus.sample()

    assert [name for name, value in vars(sample).items() if value is None] == missing
    assert sample.says_anything


def test_a_card_that_is_lost_in_mid_run_keeps_its_place_and_the_other_one_its_values() -> None:
    first, second = Card(name="First"), Card()
    gpus = nvidia.Nvidia(nvml([first, second]))
    assert [card.name for card in gpus.sample()] == ["First", "Fake RTX"]

    first.lose()

    lost, well = gpus.sample()
    assert (lost, well) == (GpuSample("First"), WHOLE)
    assert not lost.says_anything


def test_a_card_that_was_lost_before_the_start_does_not_hide_the_others() -> None:
    fake = nvml([Card(), Card()])
    whole = fake.nvmlDeviceGetHandleByIndex

    def handle(index: int) -> object:
        if index == 0:
            raise LOST
        return whole(index)

    fake.nvmlDeviceGetHandleByIndex = handle  # type: ignore[attr-defined]

    assert nvidia.Nvidia(fake).sample() == (WHOLE,)


def test_of_a_card_in_mig_mode_the_slices_follow_with_what_they_say() -> None:
    part = Card("Fake RTX MIG 1g.5gb", NOT_SUPPORTED, GB, 5 * GB, NOT_SUPPORTED, NOT_SUPPORTED)
    card = Card(utilisation=NOT_SUPPORTED, slices=[None, part, None])

    whole, sliced = nvidia.Nvidia(nvml([card])).sample()

    assert (whole.utilisation_percent, whole.power_w) == (None, 411.5)
    assert sliced == GpuSample(
        "Fake RTX MIG 1g.5gb", memory_used_bytes=GB, memory_total_bytes=5 * GB
    )


def test_a_driver_of_an_older_kind_that_knows_no_slices_is_no_error() -> None:
    fake = nvml([Card()])
    fake.nvmlDeviceGetMaxMigDeviceCount = lambda device: _raise(NOT_SUPPORTED)  # type: ignore[attr-defined]

    assert nvidia.Nvidia(fake).sample() == (WHOLE,)


def _raise(error: Exception) -> object:
    raise error


def test_no_card_is_no_answer() -> None:
    with pytest.raises(NoAnswer, match="no card"):
        nvidia.Nvidia(nvml([]))


def _real_nvml() -> ModuleType:
    try:
        return import_module("pynvml")
    except ModuleNotFoundError:
        pytest.skip("nvidia-ml-py is not installed")


def test_the_real_library_without_a_driver_says_so_and_raises_nothing() -> None:
    real = _real_nvml()
    try:
        real.nvmlInit()
    except real.NVMLError as error:
        said = str(error)
    else:
        pytest.skip("there is a driver")

    found = find.find(importing(pynvml=real))

    assert found.sample() == ()
    assert found.why == f"nvidia-ml-py: {said}; amdsmi is not installed"
    found.close()


def _used(module: ModuleType, prefix: tuple[str, ...]) -> set[str]:
    """Return the names that a module takes of a library."""
    tree = ast.parse(inspect.getsource(module))
    return {node.attr for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr.startswith(prefix)}  # fmt: skip


def _positions(call: object) -> int:
    assert callable(call)
    return len(inspect.signature(call).parameters)


def test_every_name_that_is_used_of_nvml_is_there_and_takes_what_it_is_given() -> None:
    real, fake = _real_nvml(), nvml([Card()])

    used = _used(nvidia, ("nvml", "NVML"))

    assert len(used) > 10
    for name in used:
        if name.startswith("nvml"):
            inspect.signature(getattr(real, name)).bind(*range(_positions(getattr(fake, name))))
    assert issubclass(real.NVMLError, Exception)
    assert fake.NVML_TEMPERATURE_GPU == real.NVML_TEMPERATURE_GPU


# ---- AMD


def test_an_amd_card_says_all_in_our_units() -> None:
    (sample,) = amd.Amd(smi([Card()])).sample()

    assert sample == GpuSample(**{**vars(WHOLE), "power_w": 411.0})


def test_power_and_temperature_come_from_where_the_card_has_them() -> None:
    gpus = amd.Amd(smi([Card()], power="current_socket_power", hottest="EDGE"))

    (sample,) = gpus.sample()

    assert (sample.power_w, sample.temperature_c) == (411.0, 61.0)


@pytest.mark.parametrize("none", ["N/A", 0xFFFF, 0xFFFF_FFFF])
def test_what_stands_for_no_value_is_none(none: object) -> None:
    (sample,) = amd.Amd(smi([Card(name="N/A", utilisation=none, celsius=none)])).sample()

    assert (sample.name, sample.utilisation_percent) == ("AMD GPU", None)
    assert (sample.temperature_c, sample.memory_used_bytes) == (None, 12 * GB)


def test_an_amd_card_that_is_lost_in_mid_run_keeps_its_place() -> None:
    card = Card()
    gpus = amd.Amd(smi([card]))

    card.lose()

    assert gpus.sample() == (GpuSample("Fake RTX", memory_total_bytes=24 * GB),)
    assert not gpus.sample()[0].says_anything


def test_every_name_that_is_used_of_amdsmi_is_there_and_takes_what_it_is_given() -> None:
    """By its text: to import it takes ROCm's library."""
    spec = util.find_spec("amdsmi")
    if spec is None or spec.origin is None:
        pytest.skip("amdsmi is not installed")
    text = Path(spec.origin).with_name("amdsmi_interface.py").read_text(encoding="utf-8")
    parts = {node.name: node for node in ast.walk(ast.parse(text))
             if isinstance(node, ast.FunctionDef | ast.ClassDef)}  # fmt: skip
    exported, fake = Path(spec.origin).read_text(encoding="utf-8"), smi([Card()])

    for name in _used(amd, ("amdsmi_", "AmdSmi")):
        assert f"import {name}\n" in exported
        part = parts.get(name)
        if isinstance(part, ast.FunctionDef):
            required = len(part.args.args) - len(part.args.defaults)
            assert required == _positions(getattr(fake, name)), name
    assert {"VRAM", "CURRENT", "HOTSPOT", "EDGE"} <= {
        target.id for part in parts.values() if isinstance(part, ast.ClassDef)
        for line in part.body if isinstance(line, ast.Assign)
        for target in line.targets if isinstance(target, ast.Name)
    }  # fmt: skip


# ---- which of them there is


def test_cards_of_both_makers_are_seen_side_by_side() -> None:
    found = find.find(importing(pynvml=nvml([Card()]), amdsmi=smi([Card(name="Radeon")])))

    assert (found.by, found.why) == ("nvidia-ml-py, amdsmi", "")
    assert [card.name for card in found.sample()] == ["Fake RTX", "Radeon"]
    found.close()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (KeyError("libamd_smi.so"), "KeyError: 'libamd_smi.so'"),
        (AttributeError("undefined symbol"), "AttributeError: undefined symbol"),
        (OSError("no such file"), "OSError: no such file"),
    ],
)
def test_a_library_that_does_not_load_is_named_with_its_reason(
    broken: Exception, said: str
) -> None:
    found = find.find(importing(amdsmi=broken))

    assert found.why == f"nvidia-ml-py is not installed; amdsmi cannot be loaded: {said}"
    assert (found.sample(), found.by) == ((), "")


def test_a_library_that_does_not_load_takes_the_other_one_s_cards_not_away() -> None:
    found = find.find(importing(pynvml=nvml([Card()]), amdsmi=AttributeError("undefined symbol")))

    assert (found.by, found.why) == ("nvidia-ml-py", "")


def test_whether_a_library_is_installed_is_known_without_loading_it() -> None:
    installed = []
    for distribution in ("nvidia-ml-py", "amdsmi"):
        try:
            metadata.version(distribution)
            installed.append(distribution)
        except metadata.PackageNotFoundError:
            continue

    assert find.any_installed() == bool(installed)
