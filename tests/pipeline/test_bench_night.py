"""`pipeline bench night`: a small model on short files for real; what it tells, by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.bench import night, night_fitness, night_words, night_work
from pipeline.bench.clips import Clip
from pipeline.bench.extrapolation import Cost, Observation
from pipeline.bench.night import Measured, Question, Took
from pipeline.bench.night_figures import measured_json
from pipeline.bench.night_fitness import Fitness, fitness
from pipeline.bench.night_ways import PARTS, Part, Side, Task, Way, command, ways
from pipeline.bench.night_work import Bench
from pipeline.bench.processes import Spent
from pipeline.bench.samples import Dataset, spread, take
from pipeline.cli import main
from pipeline.errors import BadUsage, NotMeasured, Unfit
from tests.sandbox import Sandbox
from tests.stages.small_models import give_vggish

NAIVE_SEPARATION = Way(Part.SEPARATION, Side.NAIVE)
TOGETHER = Way(Part.TOGETHER, Side.OURS)


# ---- the whole command


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """One measurement of the stage with the lightest processes; the answer, and what was said."""
    root = tmp_path_factory.mktemp("night")
    box = Sandbox(root, registry=None)
    give_vggish(root, box.environment)
    for number in range(4):
        box.add(f"t{number}.wav", seed=number, seconds=6.0 + number)
    files = sorted(map(str, box.dataset.glob("*.wav")))
    box.environment |= {"OMP_NUM_THREADS": "1"}
    options = ("--stages", "tagging", "--families", "vggish", "--sample", "9", "--json")

    done = box.command("bench", "night", *files, *options, "--length-s", "240")

    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_both_sides_are_measured_on_all_files(told: tuple[dict[str, Any], str]) -> None:
    answer, _ = told

    assert [(one["files"], one["audio_s"]) for one in answer["observed"]["tagging"]["ours"]] == [
        (1, 3.5),
        (2, 7.0),
        (2, 16.0),
        (4, 30.0),
    ]
    naive_s, ours_s = (answer["seconds"]["tagging"][side] for side in ("naive", "ours"))
    assert min(naive_s, ours_s) > 0
    assert answer["times_ours"]["tagging"] == pytest.approx(naive_s / ours_s)
    assert answer["sample"] == ["0001.wav", "0003.wav"]


def test_what_is_told_of_all_files_is_what_they_took(told: tuple[dict[str, Any], str]) -> None:
    answer, _ = told

    for side in Side:
        cost = Cost(**answer["cost"]["tagging"][side])
        assert cost.of(4, 30.0) == pytest.approx(answer["seconds"]["tagging"][side])
        hours = answer["hours"]["10000"]["tagging"][side]  # so little music may be all start
        assert hours in (None, pytest.approx(cost.of(10_000, 10_000 * 240.0) / 3600))


def test_the_weights_that_both_sides_take_stand_in_the_answer(
    told: tuple[dict[str, Any], str],
) -> None:
    answer, _ = told

    weights = answer["weights"]["tagging"]
    assert "audioset-vggish-3.pb" in weights
    assert all(len(sha256) == 64 for sha256 in weights.values())


def test_a_user_sees_how_far_it_is_and_how_long_it_will_be(
    told: tuple[dict[str, Any], str],
) -> None:
    _, said = told

    lines = said.splitlines()
    announced = next(number for number, line in enumerate(lines) if line.startswith("all 4 files"))
    assert "by the sample this takes" in lines[announced]
    assert lines[announced + 1].startswith("  tagging, naive: ")
    assert lines[announced + 1].endswith(" expected")
    assert lines[announced + 2].startswith("  tagging, naive: 4 files of 30.0 s in all: ")


# ---- the sample


def clips(*lengths_s: float) -> tuple[Clip, ...]:
    return tuple(
        Clip(Path(f"{number}.wav"), f"{number:04}.wav", length_s)
        for number, length_s in enumerate(lengths_s)
    )


def test_a_sample_is_like_all_files_in_its_lengths() -> None:
    all_of_them = clips(60, 10, 30, 20, 50, 40)

    assert [clip.duration_s for clip in spread(all_of_them, 3)] == [20, 40, 60]
    assert [clip.duration_s for clip in spread(all_of_them, 2)] == [20, 50]


@pytest.mark.parametrize("count", range(4, 40, 7))
def test_no_file_is_twice_in_a_sample_of_half(count: int) -> None:
    chosen = spread(clips(*range(count)), count // 2)

    assert len(set(chosen)) == count // 2


def written(folder: Path, *lengths_s: float) -> Dataset:
    folder.mkdir()
    all_of_them = clips(*lengths_s)
    for clip in all_of_them:
        tone = np.sin(np.arange(round(8000 * clip.duration_s)) * clip.duration_s)
        soundfile.write(folder / clip.name, tone, 8000)
    return Dataset(folder, all_of_them)


def test_pieces_are_a_quarter_of_their_file_but_never_less_than_a_model_looks_at(
    tmp_path: Path,
) -> None:
    samples = take(written(tmp_path / "all", 6.0, 20.0, 8.0, 40.0), 2, tmp_path)

    assert [clip.duration_s for clip in samples.whole.clips] == [8.0, 40.0]
    assert [clip.duration_s for clip in samples.cut.clips] == [3.5, 10.0]
    assert [clip.duration_s for clip in samples.one.clips] == [10.0]
    for dataset in (samples.whole, samples.cut, samples.one):
        assert sorted(dataset.folder.iterdir()) == dataset.files
        lengths_s = [soundfile.info(file).duration for file in dataset.files]
        assert lengths_s == [clip.duration_s for clip in dataset.clips]


def test_a_file_too_short_to_be_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match=r"1.wav has 5.9 s.* Give files of 6 s and more"):
        take(written(tmp_path / "all", 8.0, 5.9), 1, tmp_path)


# ---- the ways


def task(folder: Path, *parts: Part) -> Task:
    return Task(parts, folder / "demucs", "m", "cuda", "rocm", ("musicnn", "effnet"))


def test_ways_take_turns_and_the_run_of_all_comes_last() -> None:
    assert list(map(str, ways(PARTS))) == [
        "separation, naive", "separation, ours", "tagging, naive", "tagging, ours",
        "features, naive", "features, ours", "together, ours",
    ]  # fmt: skip
    assert TOGETHER not in ways((Part.SEPARATION,))
    assert TOGETHER not in ways((Part.TAGGING, Part.FEATURES))  # without stems it would be no more


def test_a_run_together_is_asked_for_what_the_runs_of_each_part_are(tmp_path: Path) -> None:
    asked = {
        part: command(Way(part, Side.OURS), task(tmp_path, *PARTS), tmp_path, [], tmp_path / "out")
        for part in Part
    }

    stages = {part: one[one.index("--stages") + 1].split(",") for part, one in asked.items()}
    assert stages[Part.TOGETHER] == [stage for part in PARTS for stage in stages[part]]
    assert stages[Part.FEATURES] == ["loudness", "onsets", "chroma", "spectral"]
    for part in PARTS:
        options = asked[part][asked[part].index("--stages") + 2 :]
        assert set(options) <= set(asked[Part.TOGETHER])
    assert {"m", "rocm", "exact"} < set(asked[Part.SEPARATION])
    assert "tagging.families=['musicnn', 'effnet']" in asked[Part.TAGGING]
    assert "rocm" not in asked[Part.FEATURES]


def bench(folder: Path, *parts: Part, say: list[str] | None = None) -> Bench:
    told = [] if say is None else say
    return Bench(task(folder, *parts), folder / "out", stems=4, environment={}, say=told.append)


def test_demucs_is_started_and_timed_for_each_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset(tmp_path / "all", clips(*range(10, 22)))
    asked: list[str] = []

    def spent(commands: Sequence[Sequence[str]], **_: object) -> Spent:
        ((*options, file),) = commands
        asked.append(Path(file).name)
        out = Path(options[options.index("-o") + 1])
        for stem in "bdov":
            (out / "bench" / Path(file).stem / f"{stem}.wav").mkdir(parents=True)
        return Spent(float(len(asked)), 2.0, 7)

    monkeypatch.setattr(night_work, "spent", spent)
    said: list[str] = []

    seen, used = bench(tmp_path, *PARTS, say=said).once(NAIVE_SEPARATION, dataset)

    assert asked == [clip.name for clip in dataset.clips]
    assert seen[1] == Observation(1, 11.0, 2.0)
    assert used == Spent(78.0, 24.0, 7)
    assert said[0] == "    10 of 12 files, 55.0 s"


def test_a_way_that_leaves_a_file_out_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night_work, "spent", lambda *args, **keywords: Spent(1.0, 1.0, 1))

    for way, expected in ((NAIVE_SEPARATION, "0 of 4"), (TOGETHER, "0 of 2")):
        with pytest.raises(NotMeasured, match=rf"(?s){way} .*did not do all.*{expected} outputs"):
            bench(tmp_path, *PARTS).once(way, Dataset(tmp_path / "all", clips(10, 20)))


# ---- what is there


def test_a_part_whose_weights_are_not_here_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    found = fitness(PARTS, model="nano", families=("musicnn",))

    assert found.parts == (Part.SEPARATION, Part.FEATURES)
    assert "pipeline models fetch msd-musicnn-1" in found.left_out[Part.TAGGING]
    assert list(found.weights[Part.SEPARATION]) == ["nano.safetensors"]
    with pytest.raises(Unfit, match=r"(?s)nothing here that could be measured.*tagging: The w"):
        fitness((Part.TAGGING,), model="nano", families=("musicnn",))


def test_a_part_whose_libraries_are_not_here_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(night_fitness._NEEDED, Part.FEATURES, ("librosa", "no-such-library"))

    found = fitness((Part.SEPARATION, Part.FEATURES), model="nano", families=())

    assert found.left_out == {
        Part.FEATURES: "no-such-library not installed; pip install no-such-library"
    }


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["a.wav", "b.wav", "c.wav"], 2, "3 files cannot be foretold from half of them"),
        (["a.wav", "--stages", "separation,loudness"], 2, "--stages loudness: give some of sep"),
        (["a.wav", "--families", "openl3"], 2, "--families openl3: give some of musicnn"),
        (["a.wav", "--model", "nobody"], 4, "no model, file or folder named 'nobody'"),
        (["a.wav", "b.wav", "c.wav", "d.wav"], 2, "a.wav cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_measured_is_refused_with_its_code(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = main(["bench", "night", *arguments])

    words = capsys.readouterr().err
    assert (found, said in words) == (code, True), words


# ---- what people see


def took(way: Way, cost: Cost, *, wall_s: float | None = None) -> Took:
    """Return what a way of a certain cost takes; on all files, 10 of 40 s, perhaps `wall_s`."""
    sizes = ((1, 10.0), (1, 40.0)) if way.is_per_file else ((1, 10.0), (4, 40.0), (4, 160.0))
    sample = tuple(Observation(*size, wall_s=cost.of(*size)) for size in sizes)
    all_s = wall_s or cost.of(10, 400.0)
    every = [Observation(10, 400.0, all_s)]
    if way.is_per_file:
        every = [Observation(1, 40.0, all_s / 10)] * 10
    return Took(way, sample, tuple(every), Spent(all_s, 2 * all_s, 5))


COSTS: dict[Way, Cost] = {
    NAIVE_SEPARATION: Cost(0.0, 4.0, 0.1),
    Way(Part.SEPARATION, Side.OURS): Cost(2.0, 0.0, 0.1),
    Way(Part.FEATURES, Side.NAIVE): Cost(4.0, 0.2, 0.02),
    Way(Part.FEATURES, Side.OURS): Cost(2.0, 0.0, 0.005),
    TOGETHER: Cost(3.0, 0.0, 0.2),
}


def measured(*, load: float = 0.0, length_s: float | None = None, **walls_s: float) -> Measured:
    parts = (Part.SEPARATION, Part.FEATURES)
    all_of_them = clips(*[40.0] * 10)
    return Measured(
        Question((), parts, "nano", ("musicnn",), "cpu", length_s=length_s),
        datetime(2026, 1, 2, tzinfo=UTC),
        Fitness(parts, {Part.TAGGING: "no weights"}, {Part.SEPARATION: {"n": 64 * "a"}}, ()),
        "cpu",
        all_of_them,
        tuple(clip.name for clip in all_of_them[:4]),
        {
            way: took(way, cost, wall_s=walls_s.get(str(way).replace(", ", "_")))
            for way, cost in COSTS.items()
        },
        load,
    )


def row(table: str, name: str, *, place: int = 0) -> list[str]:
    """Return the cells after a name, in the row that begins with it, of several the one in a place."""
    found = [line for line in table.splitlines() if line.startswith(f"{name}  ")]
    return found[place].removeprefix(name).split()


def test_the_tables_can_be_worked_out_by_hand() -> None:
    table = night_words.table(measured())

    assert row(table, "separation") == ["80.0", "42.0", "1.90"]  # 10 x (4 + 4), 2 + 40
    assert row(table, "features") == ["14.0", "4.00", "3.50"]
    assert row(table, "sum") == ["94.0", "46.0", "2.04"]
    assert row(table, "separation, naive") == ["80.0", "80.0", "+0%"]
    hours = row(table, "separation, naive", place=1)
    assert hours == ["in", "each", "4.000", "0.1000", "0.22", "2.22", "22.2", "222"]
    assert row(table, "separation, ours", place=1)[-2:] == ["11.1", "111"]
    assert row(table, "sum, naive")[-2:] == ["25.0", "250"]
    assert "tagging: left out. no weights" in table


def test_the_claims_stand_beside_what_is_here() -> None:
    table = night_words.table(measured())

    assert row(table, "separation", place=1) == ["27.0", "13.0", "2.08", "22.2", "11.1", "2.00"]
    assert row(table, "tagging") == ["9.00", "1.00", "9.00", "not", "measured"]
    claims = table.partition("claimed")[2]
    assert "sum" not in claims  # of three parts, where one was not measured


def test_what_was_foretold_is_held_against_what_was_measured() -> None:
    found = measured(separation_ours=84.0)

    assert row(night_words.table(found), "separation, ours") == ["42.0", "84.0", "-50%"]
    foretold = measured_json(found)["foretold"]["separation"]
    assert foretold["ours"] == {"seconds": pytest.approx(42.0), "error": pytest.approx(-0.5)}
    assert foretold["naive"]["error"] == pytest.approx(0.0)


def test_hours_are_of_what_all_files_took_and_of_the_length_that_is_asked_for() -> None:
    found = measured(separation_ours=84.0, length_s=240.0)

    hours = measured_json(found)["hours"]
    assert hours["1000"]["separation"]["naive"] == pytest.approx(1000 * (4 + 24) / 3600)
    cost = found.took[Way(Part.SEPARATION, Side.OURS)].cost
    assert cost.of(10, 400.0) == pytest.approx(84.0)
    assert hours["100"]["separation"]["ours"] == pytest.approx(cost.of(100, 24_000.0) / 3600)
    assert "No file was that long: the longest that was measured has 40.0 s" in night_words.table(
        found
    )


OURS = Way(Part.FEATURES, Side.OURS)


def test_hours_are_not_told_of_what_took_hardly_more_than_its_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(COSTS, OURS, Cost(4.1, 0.0, 0.01))  # 8.1 s for 400 s of music
    found = measured()

    table = night_words.table(found)

    assert measured_json(found)["hours"]["1000"]["features"]["ours"] is None
    assert row(table, "features, ours", place=1)[-4:] == ["-"] * 4
    assert row(table, "sum, ours") == ["-"] * 4
    assert row(table, "features", place=1)[-2:] == ["-", "-"]
    assert "-: cannot be told. Its start was more than half" in table
    assert "cannot be told" not in night_words.table(measured(features_ours=9.0))


def test_hours_of_another_length_are_not_told_where_no_second_was_seen_to_cost_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(COSTS, OURS, Cost(1.0, 0.5, 0.0))

    of_others = measured_json(measured(length_s=240.0))["hours"]["100"]["features"]["ours"]
    of_these = measured_json(measured())["hours"]["100"]["features"]["ours"]

    assert (of_others, of_these) == (None, pytest.approx(51 / 3600))


def test_a_machine_that_was_not_idle_is_told_of() -> None:
    assert "NOT IDLE: a load of 2.3 before it began" in night_words.table(measured(load=2.3))
    assert "NOT IDLE" not in night_words.table(measured(load=0.4))


def test_the_json_is_json() -> None:
    found = measured_json(measured())

    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["hours"]["100"].keys() == {"separation", "features", "together"}
    assert found["claimed_hours"]["sum"] == {"naive": 37.0, "ours": 15.0}
    assert found["left_out"] == {"tagging": "no weights"}


def test_the_command_prints_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Question] = []

    def answered(question: Question, **_: object) -> Measured:
        asked.append(question)
        return measured()

    monkeypatch.setattr(night, "measure", answered)

    assert main(["bench", "night", "a.wav", "--stages", "features,separation"]) == 0

    assert asked[0].parts == (Part.SEPARATION, Part.FEATURES)
    assert capsys.readouterr().out == f"{night_words.table(measured())}\n"
