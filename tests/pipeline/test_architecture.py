"""The laws of the layout, held over every file by its syntax tree, and each law seen to bite."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from inspect import getdoc
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.ledger import Ledger
from stages import STAGES
from stages.base import Declaration, Stage, StageSettings

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch", "librosa", "essentia", "numba", "scipy", "soundfile", "numpy", "pynvml", "amdsmi",
)  # fmt: skip
SQL = ("sqlalchemy", "sqlite3", "alembic")


# ---- what a file imports


@dataclass(frozen=True)
class Import:
    """One imported name, with every module that it may mean."""

    names: tuple[str, ...]
    at_module_level: bool
    only_for_types: bool

    def means(self, *packages: str) -> bool:
        """Say whether it is one of these packages, or lies in one."""
        return any(
            name == package or name.startswith(f"{package}.")
            for name in self.names
            for package in packages
        )


def imports(source: str) -> list[Import]:
    """Return every import of a file; `from a import b` may mean `a` or `a.b`."""
    return list(_imports(ast.parse(source), at_module_level=True, only_for_types=False))


def _imports(node: ast.AST, *, at_module_level: bool, only_for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import((alias.name,), at_module_level, only_for_types)
        elif isinstance(child, ast.ImportFrom):
            module = "." * child.level + (child.module or "")
            for alias in child.names:
                names = (module, f"{module}.{alias.name}")
                yield Import(names, at_module_level, only_for_types)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _imports(child, at_module_level=at_module_level, only_for_types=True)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(
                child,
                at_module_level=at_module_level and not inside,
                only_for_types=only_for_types,
            )


def _module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


PRODUCT = _files("pipeline", "stages")
SOURCES = {_module(file): file.read_text(encoding="utf-8") for file in PRODUCT}


def _name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


# ---- the laws: each takes a file's name and text, and returns what breaks it


def stages_know_the_pipeline(name: str, source: str) -> list[str]:
    """Law 1: stages can be used in a notebook, without pipeline or ledger."""
    if not name.startswith("stages/"):
        return []
    return [one.names[-1] for one in imports(source) if one.means("pipeline", "tests", *SQL)]


def speaks_sql(name: str, source: str) -> list[str]:
    """Law 2: only the ledger speaks SQL."""
    if name.startswith("pipeline/ledger/"):
        return []
    return [one.names[-1] for one in imports(source) if one.means(*SQL)]


# File and call -> why it may. What writes into the output tree is artifacts.py alone.
MAY_WRITE: Mapping[str, Mapping[str, str]] = {
    "pipeline/recovery.py": {
        "shutil.rmtree": "empties .tmp, the last step of recovery",
        ".unlink": "empties .tmp, the last step of recovery",
    },
    "pipeline/sweeping.py": {
        "os.unlink": "gc: what a manifest lists, and the manifest",
        "os.rmdir": "gc: folders that are empty after that",
    },
    "pipeline/rebuilding.py": {
        "os.rename": "the new ledger, into the place of the one that was set aside",
        ".unlink": "the half-made ledger of a rebuild that was killed",
    },
    "pipeline/lock.py": {"os.pwrite": "the holder's name, through the descriptor of the lock"},
    "pipeline/ledger/connect.py": {"shutil.copyfile": "a copy in a temporary folder, to read"},
    "pipeline/ledger/migrate.py": {".unlink": "the backup of a migration that was killed"},
    "pipeline/start.py": {"open": "/proc/self/oom_score_adj"},
    "pipeline/cli.py": {"os.open": "/dev/null, after a broken pipe"},
    "pipeline/fetching.py": {
        ".open": "models: what comes, beside its place",
        ".unlink": "models: what came and is another file",
    },
    "pipeline/model_files.py": {"os.replace": "models: a whole file into its place; a pin"},
    "pipeline/model_import.py": {
        ".open": "models: the copy, beside its place",
        "shutil.copyfileobj": "models: the copy, beside its place",
        ".unlink": "models: a copy of what changed meanwhile",
    },
    "pipeline/models.py": {".unlink": "models: what came and cannot be pinned"},
    "pipeline/demo.py": {
        ".mkdir": "the demo's dataset",
        "shutil.copyfile": "the demo's dataset",
        ".replace": "the demo's dataset",
    },
    "pipeline/bench/clips.py": {
        ".mkdir": "a measurement's dataset, in a temporary folder",
        "shutil.copyfile": "a measurement's dataset, in a temporary folder",
    },
    "pipeline/bench/feature_calls.py": {".mkdir": "a script's values, in a temporary folder"},
    "pipeline/bench/tagging_calls.py": {".mkdir": "a script's values, in a temporary folder"},
    "pipeline/bench/overlap.py": {
        ".mkdir": "a measurement's dataset, in a temporary folder",
        "shutil.rmtree": "what the ways of the round before wrote, in a temporary folder",
    },
    "pipeline/bench/pool_of_tracks.py": {".mkdir": "a pool's outputs, in a temporary folder"},
    "pipeline/bench/features.py": {
        ".mkdir": "a measurement's dataset, in a temporary folder",
        "soundfile.write": "a measurement's dataset, in a temporary folder",
        "shutil.rmtree": "what the ways of the round before wrote, in a temporary folder",
    },
    "pipeline/bench/repository.py": {
        ".mkdir": "weights in Demucs' form, in a temporary folder",
        ".write_text": "weights in Demucs' form, in a temporary folder",
    },
    "pipeline/bench/prepare.py": {".write_text": "its answer, in a temporary folder"},
    "pipeline/bench/apply_model.py": {
        ".mkdir": "the stems that ours are compared with, in a temporary folder",
        "soundfile.write": "the stems that ours are compared with, in a temporary folder",
    },
    "pipeline/bench/samples.py": {
        ".mkdir": "a sample of a measurement's dataset, in a temporary folder",
        "shutil.copyfile": "a sample of a measurement's dataset, in a temporary folder",
        "soundfile.write": "pieces of a measurement's dataset, in a temporary folder",
    },
    "pipeline/bench/night_work.py": {"shutil.rmtree": "what a way left, in a temporary folder"},
    "pipeline/bench/separation.py": {"shutil.rmtree": "what the ways left, in a temporary folder"},
    "pipeline/bench/gpu/measuring.py": {
        ".write_text": "the file of results that was asked for",
        "os.replace": "the file of results that was asked for",
    },
    "pipeline/bench/gpu/sections.py": {
        ".write_text": "what a measuring process is told, in a temporary folder"
    },
    "pipeline/bench/gpu/worker.py": {".open": "its answer, in a temporary folder"},
    "pipeline/bench/gpu/lane.py": {".mkdir": "stems that are timed, in a temporary folder"},
    "pipeline/bench/gpu/kill.py": {
        ".open": "what a run said, in a temporary folder",
        "shutil.rmtree": "what both runs wrote, in a temporary folder",
    },
    "pipeline/bench/gpu/runs.py": {"shutil.rmtree": "what a way left, in a temporary folder"},
    "pipeline/bench/gpu/pieces.py": {
        ".mkdir": "pieces of a measurement's dataset, in a temporary folder",
        "soundfile.SoundFile": "pieces of a measurement's dataset, in a temporary folder",
    },
    "pipeline/threading_analysis/analysis.py": {
        "soundfile.write": "the music that is measured with, in a temporary folder"
    },
    "pipeline/threading_analysis/brief.py": {
        ".write_text": "what a measured process is told, in a temporary folder"
    },
    "pipeline/threading_analysis/cost.py": {".write_text": "its answer, in a temporary folder"},
    "pipeline/cli_threads.py": {".write_text": "the plot, where the user asked for it"},
    "pipeline/music/bundle.py": {
        ".mkdir": "the demo's music, before it is shipped",
        "soundfile.SoundFile": "the demo's music, before it is shipped",
    },
}
_OS_WRITES = {
    "rename", "replace", "renames", "unlink", "remove", "removedirs", "rmdir", "mkdir", "makedirs",
    "link", "symlink", "truncate", "ftruncate", "write", "pwrite", "writev", "utime", "chmod",
    "chown", "mkfifo", "mknod", "copy_file_range", "sendfile",
}  # fmt: skip
_PATH_WRITES = {
    "write_text", "write_bytes", "rename", "unlink", "mkdir", "rmdir", "touch", "symlink_to",
    "hardlink_to", "chmod", "rmtree",
}  # fmt: skip
_SHUTIL_READS = {"which", "disk_usage", "get_terminal_size"}
_OPEN_FLAGS = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND")
_SOUND_WRITES = {"soundfile.write", "sf.write", "soundfile.SoundFile", "sf.SoundFile"}


def writes(name: str, source: str) -> list[str]:
    """Law 3: only artifacts.py writes into the output tree; stages write where they are told."""
    if name == "pipeline/artifacts.py" or name.startswith("stages/"):
        return []
    allowed = MAY_WRITE.get(name, {})
    return [call for call in _writing_calls(source) if call not in allowed]


def _writing_calls(source: str) -> list[str]:
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [found for call in calls if (found := _writes(call)) is not None]


def _writes(call: ast.Call) -> str | None:
    function = ast.unparse(call.func)
    module, _, name = function.rpartition(".")
    if function == "os.open":
        return function if any(flag in ast.unparse(call) for flag in _OPEN_FLAGS) else None
    if function in {"open", "io.open", "os.fdopen"}:
        return function if _mode_writes(call, position=1) else None
    if module == "os":
        return function if name in _OS_WRITES else None
    if module == "shutil":
        return function if name not in _SHUTIL_READS else None
    if function in _SOUND_WRITES:
        return function
    return _method_writes(call, name) if isinstance(call.func, ast.Attribute) else None


def _method_writes(call: ast.Call, name: str) -> str | None:
    if name == "open" and _mode_writes(call, position=0):
        return ".open"
    # str.replace takes two arguments, dataclasses.replace is no method, datetime's takes names.
    if name == "replace" and len(call.args) == 1 and not call.keywords:
        return ".replace"
    return f".{name}" if name in _PATH_WRITES else None


def _mode_writes(call: ast.Call, *, position: int) -> bool:
    named = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    modes = named or call.args[position : position + 1]
    return any(
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and len(node.value) <= 3
        and bool(set("wax+") & set(node.value))
        for mode in modes
        for node in ast.walk(mode)
    )


COMMAND_LINE = (
    "pipeline/cli.py",
    "pipeline/cli_bench.py",
    "pipeline/cli_models.py",
    "pipeline/cli_plan.py",
    "pipeline/cli_threads.py",
    "pipeline/console.py",
    "pipeline/options.py",
)
# `progress.py` takes a stream as an argument, and stderr where none is given.
MAY_PRINT = (*COMMAND_LINE, "pipeline/progress.py")


def prints(name: str, source: str) -> list[str]:
    """Law 4: only the command line prints. Children may flush what a library left in stdout."""
    if name in MAY_PRINT:
        return []
    tree = ast.parse(source)
    flushed = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "flush"
    }
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id in {"print", "pprint"})
        or (ast.unparse(node) in _STREAMS and id(node) not in flushed)
    ]


READ_THE_ENVIRONMENT = (
    "pipeline/cli.py",
    "pipeline/cli_bench.py",
    "pipeline/cli_plan.py",
    "pipeline/cli_threads.py",
)
_STREAMS = {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}
_ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"}


def reads_the_environment(name: str, source: str) -> list[str]:
    """Law 5: only the command line reads the environment, and passes it down."""
    if name in READ_THE_ENVIRONMENT:
        return []
    tree = ast.parse(source)
    imported = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "os"
        for alias in node.names
        if f"os.{alias.name}" in _ENVIRONMENT
    ]
    return imported + [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in _ENVIRONMENT
    ]


def exits(name: str, source: str) -> list[str]:
    """Law 6: exit codes are returned; `os._exit`, which children need, unwinds nothing."""
    if name == "pipeline/__main__.py":
        return []
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.exit")
        or (isinstance(node, ast.Name) and node.id in {"SystemExit", "exit", "quit"})
    ]


def imports_what_is_above(name: str, source: str) -> list[str]:
    """Law 7: nothing calls the command line, and the ledger knows nothing of the night."""
    found = imports(source)
    above = [one for one in found if one.means("pipeline.__main__")]
    if name != "pipeline/__main__.py":
        above += [one for one in found if one.means("pipeline.cli")]
    if name not in COMMAND_LINE:
        above += [
            one
            for one in found
            if one.means(
                "pipeline.cli_bench",
                "pipeline.cli_models",
                "pipeline.cli_plan",
                "pipeline.cli_threads",
                "pipeline.console",
                "pipeline.options",
            )
        ]
    if name.startswith("pipeline/ledger/"):
        above += [
            one
            for one in found
            if one.means("pipeline") and not one.means("pipeline.ledger", "pipeline.errors")
        ]
    if name in {"pipeline/errors.py", "pipeline/wire.py", "pipeline/events.py"}:
        above += [one for one in found if one.means("pipeline")]
    return [one.names[-1] for one in above]


Law = Callable[[str, str], list[str]]
LAWS: tuple[Law, ...] = (
    stages_know_the_pipeline,
    speaks_sql,
    writes,
    prints,
    reads_the_environment,
    exits,
    imports_what_is_above,
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_every_file_keeps_the_law(law: Law) -> None:
    found = {_name(file): law(_name(file), file.read_text(encoding="utf-8")) for file in PRODUCT}

    assert {name: broken for name, broken in found.items() if broken} == {}, law.__doc__


@pytest.mark.parametrize(
    ("law", "name", "source"),
    [
        (stages_know_the_pipeline, "stages/onsets.py", "from pipeline.ledger import Ledger"),
        (stages_know_the_pipeline, "stages/onsets.py", "def f():\n    import pipeline"),
        (stages_know_the_pipeline, "stages/onsets.py", "import sqlalchemy.orm as orm"),
        (
            stages_know_the_pipeline,
            "stages/onsets.py",
            "if TYPE_CHECKING:\n    from pipeline import lane",
        ),
        (speaks_sql, "pipeline/lane.py", "import sqlite3"),
        (speaks_sql, "pipeline/cli.py", "def f():\n    from sqlalchemy import select"),
        (speaks_sql, "pipeline/night.py", "from alembic.command import upgrade"),
        (writes, "pipeline/cli.py", "open(path, 'w')"),
        (writes, "pipeline/cli.py", "open(path, mode='ab')"),
        (writes, "pipeline/cli.py", "open(path, 'r+')"),
        (writes, "pipeline/cli.py", "open(path, 'x' if fresh else 'r')"),
        (writes, "pipeline/night.py", "path.open('wb')"),
        (writes, "pipeline/night.py", "with (out / 'a').open(mode='a') as stream: pass"),
        (writes, "pipeline/night.py", "path.write_text('x')"),
        (writes, "pipeline/night.py", "(out / 'a').write_bytes(b'x')"),
        (writes, "pipeline/night.py", "path.mkdir(parents=True)"),
        (writes, "pipeline/night.py", "path.replace(other)"),
        (writes, "pipeline/night.py", "path.unlink(missing_ok=True)"),
        (writes, "pipeline/night.py", "os.rename(a, b)"),
        (writes, "pipeline/night.py", "os.open(path, os.O_WRONLY | os.O_CREAT)"),
        (writes, "pipeline/night.py", "shutil.rmtree(out)"),
        (writes, "pipeline/night.py", "shutil.move(a, b)"),
        (writes, "pipeline/recovery.py", "shutil.copytree(a, b)"),  # allowed other calls only
        (writes, "pipeline/export.py", "soundfile.write(path, samples, 44100)"),
        (prints, "pipeline/night.py", "print('hello')"),
        (prints, "stages/onsets.py", "print('hello')"),
        (prints, "pipeline/night.py", "sys.stderr.write('hello')"),
        (prints, "pipeline/night.py", "say = print"),
        (prints, "pipeline/night.py", "json.dump(x, sys.stdout)"),
        (reads_the_environment, "pipeline/threads.py", "os.environ['OMP_NUM_THREADS'] = '1'"),
        (reads_the_environment, "stages/weights.py", "os.getenv('HOME')"),
        (reads_the_environment, "stages/weights.py", "from os import environ"),
        (reads_the_environment, "pipeline/child.py", "subprocess.run(a, env=dict(os.environ))"),
        (exits, "pipeline/cli.py", "sys.exit(3)"),
        (exits, "pipeline/cli.py", "raise SystemExit"),
        (exits, "pipeline/cli.py", "exit()"),
        (imports_what_is_above, "pipeline/night.py", "from pipeline.cli import main"),
        (imports_what_is_above, "pipeline/night.py", "def f():\n    from pipeline import cli"),
        (imports_what_is_above, "pipeline/ledger/jobs.py", "from pipeline.lane import Lane"),
        (imports_what_is_above, "pipeline/errors.py", "from pipeline import config"),
        (imports_what_is_above, "pipeline/models.py", "from pipeline import cli_models"),
        (imports_what_is_above, "pipeline/models.py", "from pipeline.console import say"),
        (imports_what_is_above, "pipeline/bench/words.py", "from pipeline import cli_bench"),
        (imports_what_is_above, "pipeline/cli_models.py", "from pipeline import cli"),
        (prints, "pipeline/models.py", "sys.stderr.write('hello')"),
        (reads_the_environment, "pipeline/cli_models.py", "os.environ['HOME']"),
    ],
)
def test_a_file_that_breaks_the_law_is_found(law: Law, name: str, source: str) -> None:
    assert law(name, source) != []


@pytest.mark.parametrize(
    ("law", "name", "source"),
    [
        (stages_know_the_pipeline, "stages/onsets.py", "from stages import pipelines"),
        (speaks_sql, "pipeline/ledger/jobs.py", "from sqlalchemy import select"),
        (writes, "pipeline/cli.py", "open(path)\nopen(path, 'rb')\nopen(path, encoding='ascii')"),
        (writes, "pipeline/cli.py", "text.replace('a', 'b')\nmoment.replace(tzinfo=UTC)"),
        (writes, "pipeline/cli.py", "replace(track, tick=tick)\nLedger.open(path)"),
        (writes, "pipeline/scan.py", "os.open(path, os.O_RDONLY | os.O_NONBLOCK)"),
        (writes, "pipeline/lane.py", "path.open('rb')\nshutil.which('ffmpeg')"),
        (prints, "pipeline/lane.py", "sys.stdout.flush()"),
        (reads_the_environment, "pipeline/child.py", "run(env=dict(environment))"),
        (exits, "pipeline/lane.py", "os._exit(1)"),
        (imports_what_is_above, "pipeline/ledger/jobs.py", "from pipeline.ledger.plan import x"),
    ],
)
def test_a_file_that_keeps_the_law_is_left_alone(law: Law, name: str, source: str) -> None:
    assert law(name, source) == []


def test_every_exception_for_writing_is_still_needed() -> None:
    for name, calls in MAY_WRITE.items():
        used = set(_writing_calls((ROOT / name).read_text(encoding="utf-8")))

        assert used == set(calls), name


# ---- the laws over all files at once


def reached(roots: tuple[str, ...], sources: Mapping[str, str]) -> set[str]:
    """Return the modules that importing and running these can bring in, roots included."""
    found: set[str] = set()
    open_ends = list(roots)
    while open_ends:
        module = open_ends.pop()
        if module in found or module not in sources:
            continue
        found.add(module)
        open_ends.extend(_with_packages(module))
        for one in imports(sources[module]):
            if not one.only_for_types:
                open_ends.extend(one.names)
    return found


def _with_packages(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


LANE = ("pipeline.lane", "pipeline.sources", "pipeline.order", "pipeline.probe")


@pytest.mark.parametrize("root", LANE)
def test_what_runs_in_a_lane_never_reaches_the_ledger(root: str) -> None:
    modules = reached((root,), SOURCES)

    assert "pipeline.wire" in modules
    assert not [module for module in modules if module.startswith("pipeline.ledger")]
    assert "pipeline.supervisor" not in modules


def test_a_lane_that_reaches_the_ledger_over_others_is_found() -> None:
    sources = {
        "pipeline.lane": "def f():\n    from pipeline import middle",
        "pipeline.middle": "import pipeline.ledger.jobs",
        "pipeline.ledger.jobs": "",
        "pipeline.types": "if TYPE_CHECKING:\n    from pipeline.ledger import jobs",
    }

    assert "pipeline.ledger.jobs" in reached(("pipeline.lane",), sources)
    assert "pipeline.ledger.jobs" not in reached(("pipeline.types",), sources)


def cycle(sources: Mapping[str, str]) -> list[str]:
    """Return the modules of one circle of imports at module level; empty when there is none."""
    edges = {module: _edges(module, source, sources) for module, source in sources.items()}
    finished: set[str] = set()
    for module in edges:
        found = _circle([module], edges, finished)
        if found:
            return found
    return []


def _edges(module: str, source: str, sources: Mapping[str, str]) -> list[str]:
    found = []
    for one in imports(source):
        if one.at_module_level and not one.only_for_types:
            # `from a import b` where `a.b` is a module means that, and not what `a` itself holds.
            named = [name for name in one.names if name in sources and name != module]
            found.extend(named[-1:])
    return found


def _circle(path: list[str], edges: Mapping[str, list[str]], finished: set[str]) -> list[str]:
    if path[-1] in finished:
        return []
    for target in edges[path[-1]]:
        if target in path:
            return [*path[path.index(target) :], target]
        found = _circle([*path, target], edges, finished)
        if found:
            return found
    finished.add(path[-1])
    return []


def test_imports_go_one_way() -> None:
    assert cycle(SOURCES) == []


def test_a_circle_of_imports_is_found() -> None:
    circle = {
        "a": "from b import x",
        "b": "from package import c",
        "package": "",
        "package.c": "import a",
    }
    harmless = {
        "a": "import b",
        "b": "if TYPE_CHECKING:\n    import a\ndef f():\n    import a",
    }

    found = cycle(circle)

    assert found == ["a", "b", "package.c", "a"]
    assert all(after in circle for _, after in pairwise(found))
    assert cycle(harmless) == []


def test_the_way_from_the_command_to_a_stage_has_five_stops() -> None:
    """`cli.run`, supervisor, the claim, the lane, a stage: the reading path for a newcomer."""
    stops = {
        "pipeline.cli": "pipeline.supervisor",
        "pipeline.supervisor": "pipeline.working",
        "pipeline.working": "pipeline.ledger.jobs",
    }

    for module, following in stops.items():
        assert any(one.means(following) for one in imports(SOURCES[module])), module
    assert '"pipeline.lane"' in SOURCES["pipeline.working"]
    assert "import_module" in SOURCES["pipeline.lane"]


# ---- what a fresh process really loads


def _loaded_by(code: str, *arguments: str) -> set[str]:
    """Return the top-level names of all modules that a fresh process has after running `code`."""
    script = (
        f"import sys\n{code}\nprint('\\n' + ' '.join({{m.split('.')[0] for m in sys.modules}}))"
    )
    environment = {key: value for key, value in os.environ.items() if "NIGHTSHIFT" not in key}
    answer = subprocess.run(
        [sys.executable, "-P", "-c", script, *arguments],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(answer.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("module", ["pipeline.supervisor", "pipeline.cli", "pipeline.probe"])
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    assert _loaded_by(f"import {module}").isdisjoint(HEAVY)


def test_the_stages_that_give_librosa_s_numbers_load_no_librosa() -> None:
    loaded = _loaded_by("import stages.loudness, stages.onsets, stages.chroma, stages.spectral")

    assert loaded.isdisjoint({"librosa", "sklearn", "torch", "essentia"})


@pytest.mark.parametrize(
    "modules",
    [
        "pipeline.bench.separation, pipeline.bench.words",
        "pipeline.threading_analysis.plot, pipeline.threading_analysis.words",
        "pipeline.threading_analysis.measuring",
    ],
)
def test_what_measures_loads_no_torch_beside_what_it_measures(modules: str) -> None:
    loaded = _loaded_by(f"import {modules}")

    assert loaded.isdisjoint({"torch", "demucs", "librosa", "essentia", "numba", "scipy"})


@pytest.mark.parametrize("module", LANE)
def test_a_lane_s_modules_load_no_database(module: str) -> None:
    assert _loaded_by(f"import {module}").isdisjoint(SQL)


@pytest.mark.parametrize("module", ["pipeline.cli", "pipeline.supervisor", "pipeline.lane"])
def test_nothing_that_could_reach_the_network_is_loaded_by_importing_it(module: str) -> None:
    code = f"import {module}; assert not {{'urllib.request', 'http.client'}} & set(sys.modules)"

    assert module.partition(".")[0] in _loaded_by(code)


NETWORK = ("urllib.request", "http.client", "requests", "httpx", "ftplib", "huggingface_hub")


def who_can_download(sources: Mapping[str, str]) -> set[str]:
    """Return the modules that speak to a network, and all that can bring one of them in."""
    imported = {name: imports(source) for name, source in sources.items()}
    can = {name for name, found in imported.items() if any(one.means(*NETWORK) for one in found)}
    size = 0
    while size != len(can):
        size = len(can)
        can |= {
            name
            for name, found in imported.items()
            if any(not one.only_for_types and can & set(one.names) for one in found)
        }
    return can


def test_nothing_but_the_fetch_command_ever_downloads() -> None:
    assert who_can_download(SOURCES) == {
        "pipeline.fetching",
        "pipeline.http_answers",
        "pipeline.models",
        "pipeline.model_import",  # takes of models.py what asks for licences, not the fetch
        "pipeline.cli_models",
        "pipeline.cli",
        "pipeline.__main__",
    }


def test_a_download_over_others_is_found() -> None:
    sources = {
        "pipeline.doctor": "def f():\n    from stages import middle",
        "stages.middle": "import stages.web",
        "stages.web": "def f():\n    from urllib.request import urlopen",
        "stages.other": "if TYPE_CHECKING:\n    import stages.web",
    }

    assert who_can_download(sources) == {"pipeline.doctor", "stages.middle", "stages.web"}


def test_importing_heavy_things_is_seen() -> None:
    assert "numpy" in _loaded_by("import stages.audio")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a ledger of no tracks."""
    folder = tmp_path_factory.mktemp("music")
    (folder / "_pipeline").mkdir()
    Ledger.open(folder / "_pipeline" / "ledger.db").close()
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["status", "--json"],
        ["tracks"],
        ["query", "SELECT 1"],
        ["--help"],
        ["run", "--help"],
        ["bench", "separation", "--help"],
        ["threads", "--help"],
    ],
    ids=" ".join,
)
def test_a_command_that_reads_loads_nothing_heavy(dataset: Path, command: list[str]) -> None:
    name, *rest = command
    arguments = [name, *rest] if "--help" in command else [name, str(dataset), *rest]

    loaded = _loaded_by("from pipeline.cli import main\nassert main(sys.argv[1:]) == 0", *arguments)

    assert loaded.isdisjoint({*HEAVY, "alembic"})


# ---- every registered stage

every_stage = pytest.mark.parametrize("name", STAGES)


def _kind(declaration: Declaration) -> type[Stage[StageSettings]]:
    for library in declaration.libraries:
        try:
            metadata.version(library)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{library} is not installed")
    module, _, attribute = declaration.target.partition(":")
    kind: type[Stage[StageSettings]] = getattr(import_module(module), attribute)
    return kind


@every_stage
def test_every_registered_stage_keeps_the_contract(name: str) -> None:
    declaration = STAGES[name]

    kind = _kind(declaration)

    assert issubclass(kind, Stage)
    assert kind.run is not Stage.run
    assert kind.__doc__
    assert (getdoc(kind) or "").splitlines()[0].endswith(".")
    assert declaration.target.startswith("stages.")
    assert getattr(kind, "name", name) == name


@every_stage
def test_every_registered_stage_declares_what_the_pipeline_must_know(name: str) -> None:
    declaration = STAGES[name]

    assert declaration.name == name
    assert declaration.version >= 1
    assert declaration.lane
    assert declaration.scopes
    assert len(set(declaration.scopes)) == len(declaration.scopes)
    assert declaration.libraries
    assert declaration.extra in metadata.metadata("nightshift").get_all("Provides-Extra", [])


@every_stage
def test_every_registered_stage_has_settings_that_need_no_words(name: str) -> None:
    settings = STAGES[name].settings()

    assert issubclass(STAGES[name].settings, StageSettings)
    assert STAGES[name].settings.__doc__
    assert settings.model_config.get("extra") == "forbid"
    assert settings.model_config.get("frozen") is True
    assert STAGES[name].settings.model_validate(settings.model_dump(mode="json")) == settings


@every_stage
def test_every_registered_stage_can_be_made_from_its_settings(name: str) -> None:
    declaration = STAGES[name]

    stage = _kind(declaration)(declaration.settings(), device="cpu")

    assert (stage.settings, stage.device) == (declaration.settings(), "cpu")
