from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import pytest

from pipeline.events import Event
from pipeline.progress import Progress, told
from stages.base import JsonValue

ROOT = Path(__file__).parents[2]
BAR = re.compile(r"(\w+ \(\w+\)) +(\d+)% \|[^|]*\| (\d+)/(\d+) s of audio")
# What `Night.tell_job` adds to what its caller says.
OF_A_JOB = {"path", "lane", "stage", "scope"}


class Clock:
    """Seconds that pass only when told."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    def bars(self) -> list[tuple[str, int, int]]:
        """Return every state of a bar that was drawn: name, seconds done, seconds in all."""
        return [
            (name, int(done), int(total))
            for name, _, done, total in BAR.findall(self.getvalue().replace("\r", "\n"))
        ]


class Gone(io.StringIO):
    """A stream whose other side was closed, at once or after so many writes."""

    def __init__(self, error: Exception, *, terminal: bool, good_writes: int = 0) -> None:
        super().__init__()
        self._error = error
        self._terminal = terminal
        self._good_writes = good_writes
        self.refused = 0

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        if self._good_writes > 0:
            self._good_writes -= 1
            return len(text)
        self.refused += 1
        raise self._error


def _event(kind: str, **facts: JsonValue) -> Event:
    return Event(kind, {"lane": "features", "scope": "mix", **facts})


def _failed(path: str = "one.flac", detail: str | None = "3 samples", **facts: JsonValue) -> Event:
    what: dict[str, JsonValue] = {"path": path, "stage": "loudness", "reason": "nonfinite"}
    return _event("job_failed", **what, detail=detail, **facts)


NIGHT = (
    _event("todo", left_s=200.0),
    _event("progress", done_s=10.0),
    _event("job_done", audio_s=50.0),
    _failed(),
    _event("stopping", signal=2),
    _event("job_adopted", audio_s=None),
)


# ---- off a terminal


def test_off_a_terminal_a_line_comes_now_and_then_by_the_clock() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock, every_s=30.0)

    for _ in range(10):
        clock.now_s += 10.0
        progress(_event("todo", left_s=500.0))
        progress(_event("progress", done_s=5.0))
        progress(_event("job_done", audio_s=60.0))

    assert stream.getvalue().splitlines() == [
        "3 jobs so far; features (mix): 180 s of audio",
        "6 jobs so far; features (mix): 360 s of audio",
        "9 jobs so far; features (mix): 540 s of audio",
    ]


def test_the_line_counts_each_lane_and_scope_by_itself() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock, every_s=30.0)
    progress(Event("job_done", {"lane": "features", "scope": "mix", "audio_s": 60}))
    progress(Event("job_adopted", {"lane": "separation", "scope": "mix", "audio_s": 60.4}))
    clock.now_s += 31

    progress(Event("job_done", {"lane": "features", "scope": "stems", "audio_s": None}))

    assert stream.getvalue() == (
        "3 jobs so far; features (mix): 60 s of audio, separation (mix): 60 s of audio, "
        "features (stems): 0 s of audio\n"
    )


def test_a_quiet_hour_is_not_made_up_for_by_many_lines() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock, every_s=30.0)
    clock.now_s += 3600

    for _ in range(5):
        progress(_event("job_done", audio_s=1.0))

    assert len(stream.getvalue().splitlines()) == 1


def test_off_a_terminal_nothing_steers_the_cursor() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock, every_s=0.0)

    for event in NIGHT:
        progress(event)
    progress.close()

    assert not re.search(r"[\r\x1b]|\d+%", stream.getvalue())


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["file", "terminal"])
def test_a_failure_is_told_at_once(stream: io.StringIO) -> None:
    progress = Progress(stream, clock=Clock(), every_s=1e9)
    progress(_event("todo", left_s=100.0))

    progress(_failed("album/one.flac"))

    line = "failed: album/one.flac: loudness (mix): nonfinite: 3 samples"
    assert line in stream.getvalue().replace("\r", "\n").splitlines()
    progress.close()


def test_a_failure_takes_one_line_however_long_its_detail() -> None:
    long = told(_failed(detail="x" * 10_000))
    several = told(_failed(detail="first\nsecond\nthird"))
    none = told(_failed(detail=None))

    assert long is not None
    assert len(long) < 400
    assert several == "failed: one.flac: loudness (mix): nonfinite: first"
    assert none == "failed: one.flac: loudness (mix): nonfinite: "


def test_words_in_braces_are_told_as_they_are() -> None:
    line = told(Event("unreadable", {"path": "{0}{path}{.flac", "why": "{why}"}))

    assert line == "unreadable: {0}{path}{.flac: {why}"


# ---- on a terminal


def test_bars_count_seconds_of_audio() -> None:
    terminal = Terminal()
    progress = Progress(terminal, clock=Clock(), every_s=0.0)

    progress(_event("todo", left_s=240.0))
    progress(_event("progress", done_s=30.0))
    progress(_event("job_done", audio_s=60.0))
    progress(_event("progress", done_s=20.0))
    progress(_event("job_done", audio_s=180.0))
    progress.close()

    drawn = list(dict.fromkeys(terminal.bars()))
    assert drawn == [("features (mix)", done, 240) for done in (0, 30, 60, 80, 240)]
    assert "so far" not in terminal.getvalue()


def test_a_bar_never_goes_back_nor_beyond_its_end() -> None:
    terminal = Terminal()
    progress = Progress(terminal, clock=Clock())
    progress(_event("todo", left_s=100.0))

    # Two stages go over the same 40 seconds, then one that says more than there is.
    for done_s in (0.0, 20.0, 40.0, 0.0, 20.0, 40.0, 1e6, -5.0):
        progress(_event("progress", done_s=done_s))
    progress.close()

    done = [seconds for _, seconds, _ in terminal.bars()]
    assert done == sorted(done)
    assert done[-1] == 100


def test_a_bar_grows_with_the_files_that_are_found() -> None:
    terminal = Terminal()
    progress = Progress(terminal, clock=Clock())

    progress(_event("todo", left_s=100.0))
    progress(_event("job_done", audio_s=40.0))
    progress(_event("todo", left_s=260.0))
    progress.close()

    assert terminal.bars()[-1] == ("features (mix)", 40, 300)


def test_each_lane_and_scope_has_a_bar_of_its_own() -> None:
    terminal = Terminal()
    progress = Progress(terminal, clock=Clock())

    progress(Event("todo", {"lane": "features", "scope": "mix", "left_s": 10.0}))
    progress(Event("todo", {"lane": "separation", "scope": "mix", "left_s": 20.0}))
    progress(Event("todo", {"lane": "features", "scope": "stems", "left_s": 30.0}))
    progress(Event("progress", {"lane": "separation", "scope": "mix", "done_s": 7.0}))
    progress.close()

    assert dict((name, (done, total)) for name, done, total in terminal.bars()) == {
        "features (mix)": (0, 10),
        "separation (mix)": (7, 20),
        "features (stems)": (0, 30),
    }


def test_a_lane_without_work_has_no_bar() -> None:
    terminal = Terminal()
    progress = Progress(terminal, clock=Clock())

    progress(_event("todo", left_s=0.0))
    progress(_event("progress", done_s=3.0))
    progress.close()

    assert terminal.getvalue() == ""


def test_the_seconds_of_a_failed_track_fill_the_bar_too() -> None:
    terminal = Terminal()
    progress = Progress(terminal, clock=Clock())
    progress(_event("todo", left_s=100.0))
    progress(_event("job_done", audio_s=60.0))

    progress(_failed(audio_s=40.0))
    progress.close()

    assert terminal.bars()[-1] == ("features (mix)", 100, 100)


# ---- a terminal that goes away


@pytest.mark.parametrize("good_writes", [0, 1, 2, 5])
@pytest.mark.parametrize("terminal", [False, True], ids=["file", "terminal"])
@pytest.mark.parametrize(
    "error",
    [OSError(5, "Input/output error"), BrokenPipeError(32, "Broken pipe"), ValueError("closed")],
    ids=["EIO", "EPIPE", "closed"],
)
def test_a_stream_that_goes_away_never_stops_the_night(
    error: Exception, terminal: bool, good_writes: int
) -> None:
    stream = Gone(error, terminal=terminal, good_writes=good_writes)
    progress = Progress(stream, clock=Clock(), every_s=0.0)

    for event in NIGHT * 3:
        progress(event)
    progress.close()

    assert stream.refused > 0


def test_a_stream_that_went_away_is_not_tried_again() -> None:
    stream = Gone(OSError(5, "Input/output error"), terminal=False)
    progress = Progress(stream, clock=Clock(), every_s=0.0)

    for event in NIGHT * 3:
        progress(event)

    assert stream.refused == 1


def test_a_stream_that_was_closed_before_the_run_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()
    progress = Progress(stream, clock=Clock(), every_s=0.0)

    for event in NIGHT:
        progress(event)
    progress.close()


# ---- every event of the product can be told


def _told_by(source: str) -> Iterator[tuple[str, set[str]]]:
    """Give kind and facts of each call of `tell` and `tell_job`."""
    tree = ast.parse(source)
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or function.name.startswith("tell"):
            continue  # `Night.tell…` pass on what they are given
        for call in ast.walk(function):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and call.func.attr in ("tell", "tell_job")
                and call.args  # a file that tells its position has none
            ):
                facts = {str(keyword.arg) for keyword in call.keywords}
                facts |= OF_A_JOB if call.func.attr == "tell_job" else set()
                for kind in _kinds(call.args[0], function):
                    yield kind, facts


def _kinds(argument: ast.expr, function: ast.FunctionDef) -> list[str]:
    """Return the kinds that an argument can be: a word, or a name that stands for one of several."""
    if isinstance(argument, ast.Constant):
        return [str(argument.value)]
    if isinstance(argument, ast.IfExp):
        return _kinds(argument.body, function) + _kinds(argument.orelse, function)
    assert isinstance(argument, ast.Name), ast.unparse(argument)
    values = [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == argument.id
    ]
    assert values, f"{argument.id} in {function.name} is not assigned there"
    return [kind for value in values for kind in _kinds(value, function)]


CALLS = [
    (file.stem, kind, facts)
    for file in sorted((ROOT / "pipeline").glob("*.py"))
    for kind, facts in _told_by(file.read_text(encoding="utf-8"))
]


def test_the_calls_that_tell_are_found() -> None:
    found = list(
        _told_by(
            "class A:\n"
            "  def f(self):\n"
            "    kind = 'a' if self.x else 'b'\n"
            "    night.tell_job(kind, work, job, wall_s=1)\n"
            "    self.tell('c', path='x')\n"
        )
    )

    job = OF_A_JOB | {"wall_s"}
    assert sorted(found, key=itemgetter(0)) == [("a", job), ("b", job), ("c", {"path"})]
    assert len(CALLS) > 20
    assert {"job_done", "job_adopted", "todo", "lane_died"} <= {kind for _, kind, _ in CALLS}


@pytest.mark.parametrize(
    ("kind", "facts"),
    [pytest.param(kind, facts, id=f"{module}-{kind}") for module, kind, facts in CALLS],
)
@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["file", "terminal"])
def test_every_event_of_a_run_can_be_shown(
    kind: str, facts: set[str], stream: type[io.StringIO]
) -> None:
    event = Event(kind, {name: f"<{name}>" for name in facts})
    shown = stream()
    progress = Progress(shown, clock=Clock(), every_s=0.0)

    progress(event)  # a KeyError here would end the night
    progress.close()

    line = told(event)
    assert line is None or line in shown.getvalue()


@pytest.mark.parametrize(
    "kind",
    [
        "job_done",
        "job_adopted",
        pytest.param("job_failed"),
    ],
)
def test_the_end_of_a_job_tells_its_seconds_of_audio(kind: str) -> None:
    found = [facts for _, told_kind, facts in CALLS if told_kind == kind]

    assert found
    assert all("audio_s" in facts for facts in found)


def test_an_event_that_lacks_a_fact_of_its_line_is_noticed() -> None:
    with pytest.raises(KeyError, match="why"):
        told(Event("unreadable", {"path": "one.flac"}))
