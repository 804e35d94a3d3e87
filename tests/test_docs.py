"""The documentation is true: commands, options, settings, fields, examples and links are tried."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import typer
from pydantic import BaseModel

from pipeline.cli import app
from pipeline.config import CommonSettings, load
from pipeline.ledger import Ledger
from pipeline.ledger.connect import connect_reader
from pipeline.ledger.schema import State, metadata
from pipeline.machine import Machine
from pipeline.manifest import Manifest
from stages import STAGES
from stages.audio import Audio
from stages.base import Reason, Track
from tests.stages.small_models import small_models
from tests.stages.sounds import clicks, noise, song, tone

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ROOT / "THREADING_ANALYSIS.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
COMMAND_LINE = ROOT / "docs" / "command-line.md"
DATA_FORMAT = ROOT / "docs" / "data-format.md"
FEATURES = ROOT / "docs" / "features.md"
ADD_A_STAGE = ROOT / "docs" / "add-a-stage.md"
MUSIC = {"album/rain.wav": 1.0, "harbour.wav": 4.0, "lanterns.wav": 0.5}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


# ---- reading a page


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next heading of the same depth or above."""
    depth = heading.count("#")
    found = re.search(
        rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{depth}}} |\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"there is no heading {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every row of the tables in a text, without the heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    ruled = [number for number, line in enumerate(lines) if set(line) <= set("|- ")]
    heads = {number - 1 for number in ruled}
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for number, line in enumerate(lines)
        if number not in heads and number not in ruled
    ]


def named(cell: str) -> list[str]:
    """Return what a cell names in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def first_cells(text: str) -> list[str]:
    return [name for row in rows(text) for name in named(row[0])]


# ---- commands and options


def options_of_commands() -> dict[str, set[str]]:
    """Return the long options of every command, as the program has them."""
    return {
        name: {
            option
            for parameter in command.params
            for option in parameter.opts
            if option.startswith("-")
        }
        for name, command in _commands(typer.main.get_command(app))
    }


def _commands(group: object, *above: str) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Give every command with its whole name, those of a group after the group's name."""
    commands: Mapping[str, typer.core.TyperCommand] = group.commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, *above, name)
        else:
            yield " ".join((*above, name)), command


def options_documented(text: str, command: str) -> set[str]:
    return {option.split()[0] for option in first_cells(section(text, f"## pipeline {command}"))}


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    text = text_of(COMMAND_LINE)

    sections = re.findall(r"^## pipeline ([\w ]+)$", text, re.MULTILINE)
    assert sections == list(options_of_commands())


@pytest.mark.parametrize("command", options_of_commands())
def test_every_option_is_documented_and_every_documented_option_exists(command: str) -> None:
    assert options_documented(text_of(COMMAND_LINE), command) == options_of_commands()[command]


def commands_written(text: str) -> Iterator[tuple[str, list[str]]]:
    """Give each `pipeline COMMAND …` of a page's code, with the options after it."""
    code = [line for block in re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S)
            for line in block.splitlines()]  # fmt: skip
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    for line in [*code, *re.findall(r"`([^`\n]+)`", prose)]:
        for command, rest in re.findall(
            r"(?<![\w/.-])pipeline ((?:(?:models|bench) )?[a-z]+)\b([^#\n]*)", line
        ):
            yield command, re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest)


@every_page
def test_commands_and_options_that_a_page_shows_exist(page: Path) -> None:
    known = options_of_commands()

    for command, options in commands_written(text_of(page)):
        assert command in known, command
        assert set(options) <= known[command] | {"--help"}, (command, options)


@every_page
def test_options_that_a_page_speaks_of_exist(page: Path) -> None:
    known = set().union(*options_of_commands().values()) | {"--help", "--version"}

    spoken = set(re.findall(r"`(--[a-z][a-z-]*)[^`\n]*`", text_of(page)))

    assert spoken <= known


# ---- settings


def settings() -> dict[str, object]:
    """Return every key with its default."""
    tables: dict[str, type[BaseModel]] = {"": CommonSettings}
    tables |= {f"{name}.": declaration.settings for name, declaration in STAGES.items()}
    return {key: value for prefix, model in tables.items() for key, value in _keys(prefix, model)}


def _keys(prefix: str, model: type[BaseModel]) -> Iterator[tuple[str, object]]:
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from _keys(f"{prefix}{name}.", type(default))
        else:
            yield f"{prefix}{name}", default


def shown_default(value: object) -> str:
    return "not set" if value is None else f"`{json.dumps(value)}`"


def test_every_setting_is_documented_with_its_default() -> None:
    documented = {row[0]: row[1] for row in rows(section(text_of(COMMAND_LINE), "## Settings"))}

    assert documented == {f"`{key}`": shown_default(value) for key, value in settings().items()}


def test_settings_are_documented_as_deciding_when_they_enter_the_fingerprint() -> None:
    documented = {row[0]: row[2] for row in rows(section(text_of(COMMAND_LINE), "## Settings"))}

    for name, declaration in STAGES.items():
        deciding = declaration.settings().deciding()
        for key in declaration.settings.model_fields:
            assert documented[f"`{name}.{key}`"] == ("yes" if key in deciding else "no")


@every_page
def test_settings_that_a_page_shows_are_accepted(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(text_of(page), "toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(block, encoding="utf-8")

        load(tmp_path, file=file, environment={})


# ---- modules and targets

MODULE = re.compile(r"python -m ((?:benchmarks|tests|pipeline)\.[\w.]+)([^\n`|#]*)")


@every_page
def test_modules_that_a_page_runs_exist_with_their_options(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return
    for module, rest in MODULE.findall(text_of(page)):
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        assert spec.origin is not None
        origin = Path(spec.origin)
        file = origin.with_name("__main__.py") if origin.name == "__init__.py" else origin
        source = file.read_text(encoding="utf-8")
        for option in re.findall(r"--[a-z][a-z-]*", rest):
            assert f'"{option}"' in source, f"{module} {option}"


def test_the_readme_names_every_target_that_ci_calls() -> None:
    called = re.findall(r"make ([a-z-]+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)

    assert set(called) == {"demo", "test", "test-faults", "soak"}
    assert set(called) <= set(targets)
    for target in called:
        assert f"make {target}" in text_of(ROOT / "README.md")


# ---- formats


def test_the_keys_of_a_manifest_are_documented() -> None:
    documented = first_cells(section(text_of(DATA_FORMAT), "## manifest.json"))

    assert set(documented) == {field.name for field in dataclasses.fields(Manifest)}


MEASURING = [name for name, declared in STAGES.items() if declared.lane == "features"]
each_measuring_stage = pytest.mark.parametrize("name", MEASURING)
_PITCH_CLASSES = "c|c_sharp|d|d_sharp|e|f|f_sharp|g|g_sharp|a|a_sharp|b"


def family(name: str) -> str:
    """Return the name under which a page speaks of a feature that there are several of."""
    name = re.sub(r"^(tag)_.*", r"\1_T", re.sub(r"^mood_happy_.*", "H_C", name))
    numbered = "contrast|mfcc|mfcc_delta|tonnetz|beats_loudness_band_ratio"
    name = re.sub(rf"^({numbered})_\d+_", r"\1_N_", name)
    return re.sub(rf"^chroma_({_PITCH_CLASSES})_(mean|std)$", r"chroma_P_\2", name)


def measured(name: str, sources: dict[str, Audio], out: Path) -> dict[str, dict[str, object]]:
    module, _, kind = STAGES[name].target.partition(":")
    stage = getattr(importlib.import_module(module), kind)(STAGES[name].settings())
    with small_models(out.with_name(f"{out.name}-models")):
        stage.load()
    stage.run(Track("0" * 64, sources), out)
    features: dict[str, dict[str, object]] = json.loads((out / "features.json").read_text())
    return features


@each_measuring_stage
def test_the_features_of_a_stage_are_documented_in_their_order(name: str, tmp_path: Path) -> None:
    text = text_of(FEATURES)
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 4 * 44_100)).astype(np.float32)

    features = measured(name, {"mix": Audio(noise, 44_100)}, tmp_path)

    listed = first_cells(section(text, f"### {name}: features"))
    assert listed == list(dict.fromkeys(map(family, features["mix"])))
    with np.load(tmp_path / "frames.npz") as frames:
        series = first_cells(section(text, f"### {name}: series"))
        assert [f"mix.{one}" for one in series] == list(frames)
        assert all(frames[one].size for one in frames)


@each_measuring_stage
def test_the_reasons_of_nulls_are_documented(name: str, tmp_path: Path) -> None:
    text = section(text_of(FEATURES), f"### {name}: features")
    cells = {one: row[4] for row in rows(text) for one in named(row[0])}
    sources = {
        "silence": Audio(np.zeros((2, 4 * 8000), np.float32), 8000),
        "click": Audio(np.ones((2, 320), np.float32), 8000),
        "tick": Audio(np.ones((2, 1), np.float32), 44_100),
    }

    reasons = measured(name, sources, tmp_path)["null_reasons"]

    for of_source in reasons.values():
        assert isinstance(of_source, dict)
        for feature, reason in of_source.items():
            said = reason.partition(":")[0].partition(" of ")[0]
            assert said in cells[family(feature)], (feature, reason)
    assert set(map(family, reasons["silence"])) == {  # type: ignore[call-overload]
        one for one, why in cells.items() if why
    }


UNITS = {
    "_hz": "Hz", "_s": "s", "_per_s": "1/s", "_bpm": "1/min", "_cents": "cent", "_db": "dB",
    "_dbfs": "dBFS", "_dbtp": "dBTP", "_lufs": "LUFS", "_lu": "LU",
}  # fmt: skip


def test_every_feature_and_series_has_the_unit_of_its_name_a_range_and_a_definition() -> None:
    for names, unit, within, definition, *_ in rows(text_of(FEATURES)):
        for name in named(names):
            endings = [ending for ending in UNITS if name.endswith(ending)]
            assert unit == UNITS.get(max(endings, key=len, default=""), ""), name
        low, high = range_given(within) or (0.0, 1.0)
        assert low < high, names
        assert definition, names


def range_given(cell: str) -> tuple[float, float] | None:
    """Return both ends of a range, None where it is one of names."""
    if "`" in cell:
        return None
    if cell == "any":
        return -math.inf, math.inf
    numbers = cell.replace(",", "").replace("√2", str(math.sqrt(2)))
    low, _, high = re.sub(r"^(from|above) ", "", numbers).partition(" to ")
    first = float(low)
    if cell.startswith("above"):
        first = math.nextafter(first, math.inf)
    return first, float(high or "inf")


def allowed(name: str, cell: str) -> tuple[float, float]:
    """Return the range of a feature, for a standard deviation what follows from it."""
    ends = range_given(cell)
    assert ends is not None, name
    low, high = ends
    return (0.0, (high - low) / 2) if re.search("_std(_|$)", name) else (low, high)


@each_measuring_stage
def test_what_a_stage_writes_lies_in_the_ranges_documented(name: str, tmp_path: Path) -> None:
    text = text_of(FEATURES)
    silence = np.zeros((2, 44_100), np.float32)
    sources = {
        "noise": noise(),
        "song": song(),
        "clicks": clicks([0.1, 0.7, 1.9, 2.0, 2.8], seconds=4.0),
        "late": Audio(np.concatenate([silence, tone(440.0).samples], axis=1), 44_100),
    }
    ranges = {
        kind: {one: row[2] for row in rows(section(text, f"### {name}: {kind}"))
               for one in named(row[0])}
        for kind in ("features", "series")
    }  # fmt: skip

    features = measured(name, sources, tmp_path)

    for source in sources:
        for feature, value in features[source].items():
            cell = ranges["features"][family(feature)]
            assert isinstance(value, str) == ("`" in cell), feature
            if isinstance(value, int | float):
                low, high = allowed(feature, cell)
                assert low <= value <= high, (source, feature, value)
    with np.load(tmp_path / "frames.npz") as frames:
        for series in frames:
            low, high = allowed(series, ranges["series"][series.partition(".")[2]])
            # In float32, so an end may be passed by a rounding.
            assert frames[series].min() >= np.float32(low), series
            assert frames[series].max() <= np.float32(high), series


def test_the_tables_and_views_of_the_ledger_are_documented(tmp_path: Path) -> None:
    ledger = section(text_of(DATA_FORMAT), "## The ledger")
    listed = ledger.partition("The tables:")[2].partition("###")[0]
    tables = {named(row[0])[0]: named(row[1]) for row in rows(listed)}
    Ledger.open(tmp_path / "ledger.db").close()

    assert tables == {
        name: [column.name for column in table.columns] for name, table in metadata.tables.items()
    }
    connection = connect_reader(tmp_path / "ledger.db")
    for view in ("job", "feature"):
        part = ledger.partition(f"**`{view}`**")[2].partition("**`")[0].partition("The tables")[0]
        found = connection.execute(f"SELECT * FROM {view}").description
        assert set(first_cells(part)) == {column[0] for column in found}
    connection.close()


def test_states_and_reasons_are_documented() -> None:
    text = text_of(DATA_FORMAT)

    assert first_cells(section(text, "### States")) == list(State)
    assert first_cells(section(text, "### Reasons")) == list(Reason)


def test_the_keys_of_machine_json_are_documented() -> None:
    documented = first_cells(section(text_of(DATA_FORMAT), "## machine.json"))

    written = {field.name for field in dataclasses.fields(Machine)} - {"path"}
    assert set(documented) == written


def test_the_events_of_a_run_log_are_documented() -> None:
    source = "\n".join(file.read_text() for file in sorted((ROOT / "pipeline").rglob("*.py")))
    told = set(re.findall(r'\.tell(?:_job)?\(\s*"(\w+)"', source)) - {
        "progress",
        "todo",
        "todo_in_all",
    }
    chosen = set(re.findall(r'kind = "(\w+)" if \w+ else "(\w+)"', source).pop())

    assert set(first_cells(section(text_of(DATA_FORMAT), "## Run log"))) == told | chosen


# ---- examples


class Shell:
    """A folder with three pieces of music in which a page's commands are run, weights nowhere."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        random = np.random.default_rng(0)
        for name, seconds in MUSIC.items():
            path = folder / "music" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = random.uniform(-0.3, 0.3, (round(seconds * 44_100), 2))
            sf.write(path, noise, 44_100, subtype="PCM_16")
        command = folder / "bin" / "pipeline"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pipeline "$@"\n')
        command.chmod(0o755)
        kept = {key: value for key, value in os.environ.items() if "NIGHTSHIFT" not in key}
        self._environment = {
            **kept,
            "HOME": str(folder),
            "PATH": f"{command.parent}{os.pathsep}{kept['PATH']}",
            "PYTHONPATH": str(ROOT),
            **environment,
        }

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run one line; what it prints comes as one text, in the order it was printed."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def follow(self, text: str) -> int:
        """Run every console block of a page and compare with what it shows; return how many commands."""
        count = 0
        for command, code, shown in steps(text):
            done = self.run(command)
            assert done.returncode == code, f"{command}\n{done.stdout}"
            assert re.search(expected(shown), done.stdout), f"{command}\n{done.stdout}"
            count += 1
        return count


def steps(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """Give each `$ command   # exit 1` of the console blocks: command, exit code, lines shown."""
    for block in blocks(text, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, *shown = part.splitlines()
            command, _, comment = line.partition("   # ")
            stated = re.match(r"exit (\d+)", comment)
            yield command.strip(), int(stated[1]) if stated else 0, shown


def expected(shown: list[str]) -> str:
    """Return an expression for a command's output: `…` stands for anything, alone for any lines."""
    lines = [
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(line).replace("…", ".*") + r"\n"
        for line in shown
    ]
    ends = "" if not shown or shown[-1].strip() == "…" else r"\Z"
    return r"\A" + "".join(lines) + ends


def test_an_example_that_shows_something_else_is_noticed() -> None:
    assert re.search(expected(["3 tracks: …", "…"]), "3 tracks: done\nmore\n")
    assert not re.search(expected(["3 tracks: …", "…"]), "4 tracks: done\nmore\n")
    assert not re.search(expected(["3 tracks: …"]), "3 tracks: done\nmore\n")


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_what_a_page_shows_of_the_command_line_is_what_happens(page: str, tmp_path: Path) -> None:
    assert Shell(tmp_path).follow(text_of(ROOT / page)) >= 6


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files of the example stage, as docs/add-a-stage.md shows them, ready to be imported."""
    before = set(sys.modules)
    for block in blocks(text_of(ADD_A_STAGE), "python"):
        (tmp_path / block.partition("\n")[0].removeprefix("# ")).write_text(block, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for module in set(sys.modules) - before:
        if "width" in module:
            del sys.modules[module]


def test_the_tests_of_the_example_stage_pass(example: Path) -> None:
    module = importlib.import_module("test_width")
    tests = [name for name in vars(module) if name.startswith("test_")]

    for name in tests:
        test = getattr(module, name)
        test(example) if "tmp_path" in test.__annotations__ else test()

    assert len(tests) == 3


def test_the_example_stage_runs_as_its_page_says(example: Path) -> None:
    page = text_of(ADD_A_STAGE)
    stated = dict(word.split("=") for word in blocks(page, "sh")[0].split()[1:])
    assert set(stated) == {"PYTHONPATH", "NIGHTSHIFT_REGISTRY"}
    shell = Shell(example, **{**stated, "PYTHONPATH": f"{stated['PYTHONPATH']}:{ROOT}"})

    assert shell.follow(page) == 5

    (manifest,) = (example / "music/_pipeline/tracks/harbour.wav/width").glob("manifest.json")
    found = json.loads(manifest.read_text(encoding="utf-8"))
    assert (found["facts"], found["settings"]) == ({"reference_db": -12.0}, {"hop_s": 1.0})
    assert list(found["weights"]) == ["reference.txt"]


# ---- links


def anchors(page: Path) -> set[str]:
    """Return the anchors that the headings of a page get."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_relative_link_points_to_something(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


# ---- the threading analysis


def test_what_the_code_says_of_the_threading_analysis_stands_in_it() -> None:
    files = [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "stages").rglob("*.py")]
    named = {
        anchor
        for file in files
        for anchor in re.findall(r"THREADING_ANALYSIS\.md#([\w-]+)", file.read_text("utf-8"))
    }

    assert len(named) >= 4
    assert named <= anchors(ROOT / "THREADING_ANALYSIS.md")


def test_every_number_of_the_budget_points_to_its_measurement() -> None:
    source = (ROOT / "pipeline" / "threads.py").read_text("utf-8")
    lines = source.splitlines()
    numbers = [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value > 1
    ]

    assert numbers
    for number in numbers:
        around = "\n".join(lines[max(0, number - 2) : number])
        assert "THREADING_ANALYSIS.md#" in around, lines[number - 1]
