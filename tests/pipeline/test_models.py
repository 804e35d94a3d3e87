"""`pipeline models`, with a small catalogue on a server of this machine."""

from __future__ import annotations

import json
import os
import pty
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.models import chosen
from stages import catalogue
from tests.small_catalogue import FILES, flip, names_in, small
from tests.web import Site, content

ROOT = Path(__file__).parents[2]
ONE = FILES["/one/one.safetensors"]
ACCEPT = "--accept-licence"
Told = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / ".cache" / "nightshift" / "models"


def _start(
    site: Site, *arguments: str, first: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    """Start `pipeline` with the small catalogue as a process of its own, which calls `first`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.small_catalogue", site.url, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=first,
    )


def _at_a_terminal() -> None:
    """Hear Ctrl-C, also where the tests run in the background: a shell has it ignored there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _has_come(folder: Path, process: subprocess.Popen[str]) -> Path:
    """Wait until a stalled fetch of `one` has what was sent; return where it is."""
    part = folder / "one/one.safetensors.incomplete"
    while not part.exists() or part.stat().st_size < 150_000:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return part


def _nobody() -> str:
    """Return an address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


# ---- fetch


def test_a_model_is_fetched_once(site: Site, folder: Path, capsys: Told) -> None:
    assert main(["models", "fetch", "one", ACCEPT]) == 0

    assert (folder / "one/one.safetensors").read_bytes() == ONE
    assert names_in(folder) == {"one/one.safetensors"}
    assert "1 file fetched, 400.0 kB" in capsys.readouterr().err
    asked = len(site.asked)
    assert main(["models", "fetch", "one"]) == 0
    assert len(site.asked) == asked
    assert "1 file here already, and right." in capsys.readouterr().err


def test_a_head_brings_its_embedding_and_what_has_no_published_hash_is_pinned(
    site: Site, folder: Path, capsys: Told
) -> None:
    assert main(["models", "fetch", "dance-1", ACCEPT]) == 0

    essentia = folder / "essentia"
    for name in ("sound-1.pb", "sound-1.json", "dance-1.pb", "dance-1.json"):
        assert (essentia / name).read_bytes() == FILES[f"/essentia/{name}"]
    pins = {path.name for path in essentia.glob("*.sha256")}
    assert pins == {"sound-1.json.sha256", "dance-1.pb.sha256", "dance-1.json.sha256"}
    assert "No hash is published of sound-1.json, dance-1.pb, dance-1.json" in (
        capsys.readouterr().err
    )
    checked = subprocess.run(
        ["sha256sum", "--strict", "-c", *sorted(pins)],
        cwd=essentia,
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_what_was_pinned_at_first_use_is_held_against_it_later(
    site: Site, folder: Path, capsys: Told
) -> None:
    main(["models", "fetch", "dance-1", ACCEPT])
    file = folder / "essentia/dance-1.pb"
    file.unlink()
    site.files["/essentia/dance-1.pb"] = content("published anew", 1_000)

    assert main(["models", "fetch", "dance-1"]) == 1

    said = capsys.readouterr().err
    assert f"remove {file}.sha256" in said
    assert sha256(FILES["/essentia/dance-1.pb"]).hexdigest() in said
    assert not file.exists()


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("sound-1.json", b"<!DOCTYPE html><title>Log in</title>"),
        ("sound-1.json", b"Please log in"),
        ("sound-1.json", b"[1, 2]"),
        ("dance-1.pb", b"\n <html>"),
        ("dance-1.pb", b""),
    ],
)
def test_the_login_page_of_a_network_is_not_pinned(
    site: Site, folder: Path, capsys: Told, name: str, page: bytes
) -> None:
    site.files[f"/essentia/{name}"] = page

    assert main(["models", "fetch", "dance-1", ACCEPT]) == 1

    assert f"{name} gave something else" in capsys.readouterr().err
    assert not [found for found in names_in(folder) if name in found]


def test_a_file_gets_its_name_when_its_bytes_are_durable_and_pinned(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, str]] = []
    really_sync, really_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        steps.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        really_sync(descriptor)

    def replace(old: Path, new: Path) -> None:
        steps.append(("name", new.name))
        really_replace(old, new)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    main(["models", "fetch", "sound-1", ACCEPT])

    json_file = steps[steps.index(("sync", "sound-1.json.incomplete")) :]
    assert json_file == [
        ("sync", "sound-1.json.incomplete"),
        ("sync", "sound-1.json.sha256.new"),
        ("name", "sound-1.json.sha256"),
        ("sync", "essentia"),
        ("name", "sound-1.json"),
        ("sync", "essentia"),
    ]


def test_wrong_bytes_are_said_with_both_hashes_and_the_others_stay(
    site: Site, folder: Path, capsys: Told
) -> None:
    site.files["/bag/right.safetensors"] = b"wrong"

    assert main(["models", "fetch", "bag", ACCEPT]) == 1

    said = capsys.readouterr().err
    assert sha256(FILES["/bag/right.safetensors"]).hexdigest() in said
    assert sha256(b"wrong").hexdigest() in said
    assert names_in(folder) == {"bag/left.safetensors"}


def test_a_damaged_file_is_fetched_anew(site: Site, folder: Path) -> None:
    main(["models", "fetch", "bag", ACCEPT])
    (folder / "bag/left.safetensors").write_bytes(b"damaged")
    site.asked.clear()

    assert main(["models", "fetch", "bag"]) == 0

    assert [one.path for one in site.asked] == ["/bag/left.safetensors"]
    assert (folder / "bag/left.safetensors").read_bytes() == FILES["/bag/left.safetensors"]


def test_without_a_network_there_is_one_message_with_the_way_around_it(
    site: Site, folder: Path, capsys: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = _nobody()
    monkeypatch.setattr(catalogue, "CATALOGUE", small(nobody))

    assert main(["models", "fetch", "bag", ACCEPT]) == 4

    said = capsys.readouterr().err.partition("Accepted by --accept-licence.\n")[2]
    assert said.splitlines() == [
        f"error: {nobody}/bag/left.safetensors cannot be reached (Connection refused). Without a "
        "network here, fetch on another machine what is listed, bring it, and give: pipeline "
        "models import FOLDER",
        f"  {nobody}/bag/left.safetensors",
        f"  {nobody}/bag/right.safetensors",
    ]


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_mirror_is_laid_out_as_the_models_folder(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(catalogue, "CATALOGUE", small("https://nowhere.invalid"))
    site.files["/mirror/one/one.safetensors"] = ONE
    if by == "variable":
        monkeypatch.setenv("NIGHTSHIFT_MODELS_URL", f"{site.url}/mirror/")

    given = ["--from", f"{site.url}/mirror"] if by == "option" else []
    assert main(["models", "fetch", "one", ACCEPT, *given]) == 0

    assert [one.path for one in site.asked] == ["/mirror/one/one.safetensors"]


def test_the_name_of_a_family_stands_for_its_backbone_and_all_heads_on_it() -> None:
    names = [model.name for model in chosen(["musicnn", "htdemucs"])]

    assert names[0] == "msd-musicnn-1"
    assert len(names) == len(set(names)) == 1 + 12 + 1
    assert {"danceability-msd-musicnn-1", "emomusic-msd-musicnn-2", "htdemucs"} <= {*names}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fetch", "two"], "there is no model two in the catalogue"),
        (["fetch", "two"], "one, bag, sound-1, dance-1"),
        (["fetch", "two"], "all of its heads: musicnn, vggish, effnet"),
        (["fetch", "one", "--from", "ftp://there"], "begins with https:// or http://"),
        (["fetch", "one", "--from", "http:///there"], "begins with https:// or http://"),
        (["fetch"], "NAME"),
        (["import", "/nowhere/at/all"], "/nowhere/at/all is no file and no folder"),
        (["bogus"], "bogus"),
    ],
)
def test_wrong_usage_is_answered_with_what_can_be_done(
    site: Site, capsys: Told, arguments: list[str], said: str
) -> None:
    assert main(["models", *arguments]) == 2

    assert said in capsys.readouterr().err
    assert site.asked == []


def test_a_user_without_a_home_is_told_what_to_set(
    site: Site, capsys: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(user: int) -> None:
        raise KeyError(user)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)

    assert main(["models", "fetch", "one", ACCEPT]) == 4

    assert "Set HOME" in capsys.readouterr().err


# ---- fetch: killed, stopped, twice at once, no space


def test_a_fetch_that_was_killed_transfers_only_the_rest(site: Site, folder: Path) -> None:
    site.script = ["stall:150000"]
    killed = _start(site, "models", "fetch", "one", ACCEPT)
    _has_come(folder, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (folder / "one/one.safetensors").exists()

    again = _start(site, "models", "fetch", "one")
    said = again.communicate(timeout=60)[1]

    assert again.returncode == 0, said
    assert (folder / "one/one.safetensors").read_bytes() == ONE
    assert (site.asked[-1].range, site.asked[-1].sent) == ("bytes=150000-", len(ONE) - 150_000)
    assert names_in(folder) == {"one/one.safetensors"}


def test_ctrl_c_leaves_what_came_and_says_so(site: Site, folder: Path) -> None:
    site.script = ["stall:150000"]
    stopped = _start(site, "models", "fetch", "one", ACCEPT, first=_at_a_terminal)
    part = _has_come(folder, stopped)

    stopped.send_signal(signal.SIGINT)
    said = stopped.communicate(timeout=60)[1]

    assert stopped.returncode == 130
    assert said.endswith("stopped; what came is kept. The same command goes on.\n")
    assert part.stat().st_size == 150_000


def test_of_two_fetches_at_once_one_transfers_and_the_other_waits(site: Site, folder: Path) -> None:
    site.script = ["stall:150000"]
    first = _start(site, "models", "fetch", "one", ACCEPT)
    _has_come(folder, first)
    second = _start(site, "models", "fetch", "one", ACCEPT)
    assert second.stderr is not None
    while "waiting for it to end" not in (line := second.stderr.readline()):
        assert line, "the second fetch ended without waiting"

    site.released.set()  # the first is cut off there, and goes on with the rest
    ends = [process.communicate(timeout=60) for process in (first, second)]

    assert (first.returncode, second.returncode) == (0, 0), ends
    assert site.sent == len(ONE)
    assert (folder / "one/one.safetensors").read_bytes() == ONE


def test_a_disk_that_is_full_ends_a_fetch_with_its_name(site: Site, folder: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    full = _start(site, "models", "fetch", "one", ACCEPT, first=limited)
    said = full.communicate(timeout=60)[1]

    assert full.returncode == 4
    assert "one.safetensors.incomplete cannot be written" in said
    assert "Traceback" not in said
    assert not (folder / "one/one.safetensors").exists()


def test_a_models_folder_that_cannot_be_made_is_named(
    site: Site, folder: Path, capsys: Told
) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where a folder should be")

    assert main(["models", "fetch", "one", ACCEPT]) == 4

    assert f"{folder} cannot be used" in capsys.readouterr().err


# ---- licences


def test_a_licence_is_shown_and_without_a_terminal_needs_the_option(
    site: Site, folder: Path, capsys: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)

    assert main(["models", "fetch", "one"]) == 2

    said = capsys.readouterr().err
    assert "Plain weights: to be read\n  Whoever reads this may go on." in said
    assert "--accept-licence" in said
    assert site.asked == []
    assert not folder.exists()


def test_a_licence_is_asked_for_once_and_each_for_itself(site: Site, capsys: Told) -> None:
    assert main(["models", "fetch", "one", ACCEPT]) == 0
    capsys.readouterr()

    assert main(["models", "fetch", "bag"]) == 0
    assert "Plain weights" not in capsys.readouterr().err
    assert main(["models", "fetch", "sound-1"]) == 2
    assert "Not for sale." in capsys.readouterr().err


def test_a_memory_of_licences_that_cannot_be_read_accepts_nothing(site: Site, folder: Path) -> None:
    folder.mkdir(parents=True)

    for odd in (b"\xff", b"[]", b'{"plain'):
        (folder / "accepted-licences.json").write_bytes(odd)
        assert main(["models", "fetch", "one"]) == 2


@pytest.mark.parametrize(("typed", "code"), [("yes\n", 0), ("y\n", 2), ("\n", 2), ("\x04", 2)])
def test_on_a_terminal_a_licence_is_accepted_by_typing_yes(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())

    with open(theirs, encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert main(["models", "fetch", "one"]) == code

    os.close(ours)
    assert (folder / "one/one.safetensors").exists() == (code == 0)


# ---- import


def test_a_folder_is_imported_by_hash_and_by_name_and_stays_as_it_is(
    site: Site, folder: Path, tmp_path: Path, capsys: Told
) -> None:
    stick = tmp_path / "stick"
    (stick / "deep").mkdir(parents=True)
    (stick / "deep" / "download (1).safetensors").write_bytes(ONE)  # known by its hash
    (stick / "sound-1.json").write_bytes(FILES["/essentia/sound-1.json"])  # by its name
    (stick / "left.safetensors").write_bytes(b"wrong")
    (stick / "notes.json").write_bytes(b"{}")
    os.mkfifo(stick / "pipe.safetensors")

    code = main(["models", "import", str(stick), ACCEPT])

    told = capsys.readouterr()
    assert code == 1, "one file is not what its name says"
    assert (folder / "one/one.safetensors").read_bytes() == ONE
    assert names_in(folder) == {
        "one/one.safetensors",
        "essentia/sound-1.json",
        "essentia/sound-1.json.sha256",
    }
    assert f"changed     {stick}/left.safetensors" in told.out
    assert sha256(b"wrong").hexdigest() in told.out
    assert sha256(FILES["/bag/left.safetensors"]).hexdigest() in told.out
    assert f"{site.url}/bag/left.safetensors" in told.out
    assert (stick / "deep" / "download (1).safetensors").exists()
    assert site.asked == []


def test_an_import_shows_the_licences_first(
    site: Site, folder: Path, tmp_path: Path, capsys: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    (tmp_path / "w.safetensors").write_bytes(ONE)

    assert main(["models", "import", str(tmp_path / "w.safetensors")]) == 2

    assert "Whoever reads this" in capsys.readouterr().err
    assert not folder.exists()


def test_the_models_folder_of_another_machine_can_be_imported_whole(
    site: Site, folder: Path, tmp_path: Path
) -> None:
    main(["models", "fetch", "dance-1", "bag", ACCEPT])
    there = tmp_path / "stick"
    folder.rename(there)

    assert main(["models", "import", str(there), ACCEPT]) == 0

    assert names_in(folder) == names_in(there)
    assert main(["models", "verify"]) == 0


def test_a_byte_that_flipped_on_the_way_is_found_by_the_pin_that_came_along(
    site: Site, folder: Path, tmp_path: Path, capsys: Told
) -> None:
    main(["models", "fetch", "dance-1", ACCEPT])
    there = tmp_path / "stick"
    folder.rename(there)
    flip(there / "essentia/dance-1.pb")

    assert main(["models", "import", str(there), ACCEPT]) == 1

    assert f"changed     {there}/essentia/dance-1.pb" in capsys.readouterr().out
    assert not (folder / "essentia/dance-1.pb").exists()


def test_what_is_here_and_right_is_not_copied_again(
    site: Site, folder: Path, tmp_path: Path, capsys: Told
) -> None:
    main(["models", "fetch", "one", ACCEPT])
    shutil.copy(folder / "one/one.safetensors", tmp_path / "w.safetensors")
    before = (folder / "one/one.safetensors").stat()

    assert main(["models", "import", str(tmp_path / "w.safetensors")]) == 0

    assert "here already, and right" in capsys.readouterr().err
    assert (folder / "one/one.safetensors").stat().st_ino == before.st_ino


def test_a_file_that_is_none_of_the_catalogue_is_named(
    site: Site, tmp_path: Path, capsys: Told
) -> None:
    (tmp_path / "song.bin").write_bytes(b"la")
    (tmp_path / "empty").mkdir()

    assert main(["models", "import", str(tmp_path / "song.bin")]) == 1
    assert f"unknown     {tmp_path}/song.bin" in capsys.readouterr().out
    assert main(["models", "import", str(tmp_path / "empty")]) == 1
    assert "no file of the catalogue is among it" in capsys.readouterr().err


def test_an_import_goes_over_what_a_broken_fetch_left(
    site: Site, folder: Path, tmp_path: Path
) -> None:
    (folder / "one").mkdir(parents=True)
    (folder / "one/one.safetensors.incomplete").write_bytes(b"x" * 500_000)
    (tmp_path / "w.safetensors").write_bytes(ONE)

    assert main(["models", "import", str(tmp_path / "w.safetensors"), ACCEPT]) == 0

    assert (folder / "one/one.safetensors").read_bytes() == ONE
    assert names_in(folder) == {"one/one.safetensors"}


# ---- list, verify


def test_verify_finds_a_flipped_byte_and_names_what_mends_it(
    site: Site, folder: Path, capsys: Told
) -> None:
    main(["models", "fetch", "one", "dance-1", ACCEPT])
    assert main(["models", "verify"]) == 0
    assert "5 files hashed, 0 wrong or missing." in capsys.readouterr().err
    flip(folder / "one/one.safetensors")
    flip(folder / "essentia/dance-1.pb")

    assert main(["models", "verify"]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["changed", str(folder / "one/one.safetensors")]
    assert lines[1].split() == ["expected", sha256(ONE).hexdigest()]
    found = sha256((folder / "one/one.safetensors").read_bytes()).hexdigest()
    assert lines[2].split() == ["found", found]
    assert lines[3].split(maxsplit=1) == ["mend", "pipeline models fetch one"]
    assert lines[4].split() == ["changed", str(folder / "essentia/dance-1.pb")]
    assert main(["models", "fetch", "one", "dance-1"]) == 0
    assert main(["models", "verify"]) == 0


def test_verify_names_what_a_model_lacks(site: Site, folder: Path, capsys: Told) -> None:
    main(["models", "fetch", "bag", "dance-1", ACCEPT])
    (folder / "bag/left.safetensors").unlink()
    (folder / "essentia/sound-1.pb").unlink()
    (folder / "essentia/sound-1.json").unlink()
    capsys.readouterr()

    assert main(["models", "verify", "--json"]) == 1

    found = json.loads(capsys.readouterr().out)
    assert [(one["what"], one["mend"]) for one in found["findings"]] == [
        ("missing", "pipeline models fetch bag"),
        ("missing", "pipeline models fetch sound-1"),
        ("missing", "pipeline models fetch sound-1"),
    ]
    assert (found["well"], found["hashed"]) == (False, 3)


def test_a_file_that_cannot_be_read_is_wrong(site: Site, folder: Path, capsys: Told) -> None:
    (folder / "one/one.safetensors").mkdir(parents=True)

    assert main(["models", "verify"]) == 1

    assert "unreadable" in capsys.readouterr().out


def test_nothing_there_is_nothing_wrong(site: Site, folder: Path, capsys: Told) -> None:
    assert main(["models", "verify", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {
        "well": True, "hashed": 0, "findings": [], "unpinned": [],
    }  # fmt: skip
    assert not folder.exists()


def test_what_was_put_there_by_hand_is_said_to_be_unproven_and_pinned_by_a_fetch(
    site: Site, folder: Path, capsys: Told
) -> None:
    (folder / "essentia").mkdir(parents=True)
    for name in ("sound-1.pb", "sound-1.json"):
        (folder / "essentia" / name).write_bytes(FILES[f"/essentia/{name}"])

    assert main(["models", "verify"]) == 0
    assert "Nothing speaks for sound-1.json yet" in capsys.readouterr().err
    assert main(["models", "fetch", "sound-1"]) == 0

    assert site.asked == []
    assert (folder / "essentia/sound-1.json.sha256").exists()


def test_the_list_says_what_is_there_what_is_missing_and_what_is_damaged(
    site: Site, folder: Path, capsys: Told
) -> None:
    main(["models", "fetch", "one", "dance-1", ACCEPT])
    flip(folder / "essentia/dance-1.json")
    capsys.readouterr()

    assert main(["models", "list"]) == 0

    told = capsys.readouterr()
    states = [line.split()[:2] for line in told.out.splitlines()]
    assert states == [
        ["there", "one"], ["missing", "bag"], ["there", "sound-1*"], ["damaged", "dance-1*"],
    ]  # fmt: skip
    assert "400.0 kB" in told.out
    assert "what bag is for" in told.out
    assert "pinned" in told.err


def test_the_list_has_keys_that_are_promised(site: Site, folder: Path, capsys: Told) -> None:
    main(["models", "fetch", "dance-1", ACCEPT])
    capsys.readouterr()

    assert main(["models", "list", "--json"]) == 0

    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    dance = models["dance-1"]
    assert set(dance) == {
        "name", "kind", "what_for", "state", "bytes", "licence", "licence_accepted_utc", "needs",
        "ships", "files",
    }  # fmt: skip
    assert (dance["kind"], dance["state"], dance["needs"]) == ("head", "there", ["sound-1"])
    assert not dance["ships"]
    assert dance["licence_accepted_utc"] is not None
    assert models["one"]["licence_accepted_utc"] is None
    assert dance["files"][0] == {
        "path": str(folder / "essentia/dance-1.pb"),
        "url": f"{site.url}/essentia/dance-1.pb",
        "state": "there",
        "bytes": 1000,
        "sha256": sha256(FILES["/essentia/dance-1.pb"]).hexdigest(),
        "pinned": "first use",
    }
    assert models["one"]["files"][0]["pinned"] == "published"
    assert models["one"]["files"][0]["state"] == "missing"
