from __future__ import annotations

import errno
import io
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.scan import EXAMPLES_PER_REASON, Scan, display, is_audio, read_names

FLAC_HEAD = b"fLaC\x00\x00\x00\x22" + bytes(64)
ODD_NAMES = (
    b"-rf.flac",
    b"\xff\xfe.flac",
    b"\xd7\xa9\xd7\x99\xd7\xa8.flac",
    b"clear\x1b[2J.flac",
    b"cafe\xcc\x81.flac",
    b"caf\xc3\xa9.flac",
    b"http:'\"$.flac",
    b"line\nbreak\t.flac",
    b"n" * 250 + b".flac",
    b"trailing. ",
)


def _put(dataset: Path, *paths: bytes, content: bytes = FLAC_HEAD) -> None:
    for path in paths:
        full = os.path.join(os.fsencode(dataset), path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(content)


def _paths(scan: Scan) -> list[bytes]:
    return [found.path for found in scan]


def _scan(
    dataset: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    names: Sequence[bytes] | None = None,
) -> Scan:
    out = dataset / "_pipeline"
    return Scan(dataset, out=out, include=include, exclude=exclude, names=names)


def test_every_regular_file_is_found_with_its_stat(tmp_path: Path) -> None:
    _put(tmp_path, b"a/one.flac", b"cover.jpg")
    os.utime(tmp_path / "a" / "one.flac", ns=(0, 1_000_000_007))

    found = {file.path: file for file in _scan(tmp_path)}

    info = (tmp_path / "a" / "one.flac").stat()
    one = found[b"a/one.flac"]
    assert set(found) == {b"a/one.flac", b"cover.jpg"}
    assert (one.size_bytes, one.mtime_ns) == (info.st_size, info.st_mtime_ns)
    assert (one.ctime_ns, one.inode, one.device) == (info.st_ctime_ns, info.st_ino, info.st_dev)


def test_files_and_folders_come_depth_first_in_one_byte_order(tmp_path: Path) -> None:
    _put(tmp_path, b"b.flac", b"a/z.flac", b"a/b/c.flac", b"B.flac", b"a.flac", b"\xff.flac")

    assert _paths(_scan(tmp_path)) == [
        b"B.flac",
        b"a/b/c.flac",
        b"a/z.flac",
        b"a.flac",
        b"b.flac",
        b"\xff.flac",
    ]


def test_the_walk_is_lazy(tmp_path: Path) -> None:
    _put(tmp_path, b"a/1.flac", b"b/2.flac")
    files = _scan(tmp_path).files()

    first = next(files)
    _put(tmp_path, b"b/3.flac")

    assert first.path == b"a/1.flac"
    assert [file.path for file in files] == [b"b/2.flac", b"b/3.flac"]


@pytest.mark.parametrize("name", ODD_NAMES, ids=display)
def test_a_file_of_any_name_is_found_and_opened(tmp_path: Path, name: bytes) -> None:
    _put(tmp_path, b"folder " + name + b"/" + name if len(name) < 200 else name)

    (path,) = _paths(_scan(tmp_path))

    assert path.endswith(name)
    assert is_audio(tmp_path, path)
    assert _paths(_scan(tmp_path, names=[path])) == [path]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("Café/Ølund – 夜.flac".encode(), "Café/Ølund – 夜.flac"),
        (b"\xff\xfe.flac", r"\xff\xfe.flac"),
        (b"\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        (b"a\nb\tc\x7f", r"a\nb\tc\x7f"),
        (b"\xc2\x9b2J", r"\x9b2J"),
        ("cafe\u0301".encode(), "cafe\u0301"),
        ("evil\u202egpj.flac".encode(), r"evil\u202egpj.flac"),
        ("two\u2028lines".encode(), r"two\u2028lines"),
        ("👩\u200d🎤.flac".encode(), "👩\u200d🎤.flac"),
    ],
)
def test_what_is_displayed_cannot_steer_a_terminal(path: bytes, shown: str) -> None:
    assert display(path) == shown


def test_a_tree_of_300_folders_is_walked(tmp_path: Path) -> None:
    path = b"deep/" * 300 + b"song.flac"
    _put(tmp_path, path)

    assert _paths(_scan(tmp_path)) == [path]


def test_a_path_too_long_for_the_kernel_is_counted(tmp_path: Path) -> None:
    _put(tmp_path, b"ok.flac")
    part = "x" * 250
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(part, dir_fd=at)
        inner = os.open(part, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)

    scan = _scan(tmp_path)

    assert _paths(scan) == [b"ok.flac"]
    assert scan.skipped == {"path too long": 1}


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    _put(tmp_path, b"store/song.flac")
    farm = tmp_path / "farm"
    farm.mkdir()
    (farm / "link.flac").symlink_to(tmp_path / "store" / "song.flac")
    (farm / "album").symlink_to(tmp_path / "store")

    found = {file.path: file.inode for file in _scan(farm)}

    inode = (tmp_path / "store" / "song.flac").stat().st_ino
    assert found == {b"link.flac": inode, b"album/song.flac": inode}


def test_folder_loops_are_cut_and_counted(tmp_path: Path) -> None:
    _put(tmp_path, b"a/b/song.flac")
    (tmp_path / "a" / "b" / "self").symlink_to(".")
    (tmp_path / "a" / "b" / "top").symlink_to(tmp_path)
    (tmp_path / "ring").symlink_to("ring")

    scan = _scan(tmp_path)

    assert _paths(scan) == [b"a/b/song.flac"]
    assert scan.skipped == {"loop": 3}
    assert scan.examples == {"loop": ["a/b/self", "a/b/top", "ring"]}


def test_a_link_to_a_folder_already_visited_is_skipped(tmp_path: Path) -> None:
    _put(tmp_path, b"a/song.flac")
    (tmp_path / "b").symlink_to("a")

    scan = _scan(tmp_path)

    assert _paths(scan) == [b"a/song.flac"]
    assert scan.examples == {"loop": ["b"]}


def test_a_real_folder_keeps_its_files_though_a_link_led_there_first(tmp_path: Path) -> None:
    _put(tmp_path, b"z/song.flac")
    (tmp_path / "a").symlink_to("z")

    assert _paths(_scan(tmp_path, include=["z/**"])) == [b"z/song.flac"]


def test_dangling_links_fifos_sockets_and_devices_are_counted_and_not_opened(
    tmp_path: Path,
) -> None:
    _put(tmp_path, b"song.flac")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "gone.wav").symlink_to("nowhere/at/all.wav")
    (tmp_path / "under.wav").symlink_to("song.flac/not-a-folder.wav")
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as unix:
        # A socket's address is short: bind where we stand.
        unix.bind(os.path.relpath(tmp_path / "s.wav"))

        scan = _scan(tmp_path)
        paths = _paths(scan)

    assert paths == [b"song.flac"]
    assert scan.skipped == {"fifo": 1, "socket": 1, "device": 1, "dangling link": 2}
    assert scan.examples["dangling link"] == ["gone.wav", "under.wav"]


def test_only_the_first_few_of_a_reason_are_shown(tmp_path: Path) -> None:
    for number in range(EXAMPLES_PER_REASON + 3):
        os.mkfifo(tmp_path / f"{number}.wav")

    scan = _scan(tmp_path)
    assert _paths(scan) == []

    assert scan.skipped["fifo"] == EXAMPLES_PER_REASON + 3
    assert len(scan.examples["fifo"]) == EXAMPLES_PER_REASON


def test_a_file_and_a_folder_that_vanish_during_the_walk_are_counted(tmp_path: Path) -> None:
    _put(tmp_path, b"1.flac", b"2.flac", b"3/song.flac")
    scan = _scan(tmp_path)
    files = scan.files()
    next(files)

    (tmp_path / "2.flac").unlink()
    (tmp_path / "3" / "song.flac").unlink()
    (tmp_path / "3").rmdir()

    assert list(files) == []
    assert scan.skipped == {"changed while scanning": 2}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_without_permission_is_counted(tmp_path: Path) -> None:
    _put(tmp_path, b"a.flac", b"secret/b.flac")
    (tmp_path / "secret").chmod(0)

    scan = _scan(tmp_path)
    paths = _paths(scan)
    (tmp_path / "secret").chmod(stat.S_IRWXU)

    assert paths == [b"a.flac"]
    assert scan.examples == {"unreadable folder": ["secret"]}


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.EIO, "unreadable folder"), (errno.ENOENT, "changed while scanning")],
)
def test_a_folder_that_cannot_be_listed_is_counted_and_the_walk_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    _put(tmp_path, b"a/1.flac", b"b/2.flac")
    _let_listing_fail(monkeypatch, tmp_path / "a", number)
    scan = _scan(tmp_path)

    assert _paths(scan) == [b"b/2.flac"]
    assert scan.examples == {reason: ["a"]}


def test_a_dataset_that_cannot_be_listed_raises_instead_of_looking_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _let_listing_fail(monkeypatch, tmp_path, errno.EIO)

    with pytest.raises(OSError, match="Input/output error"):
        list(_scan(tmp_path))


def _let_listing_fail(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    real = os.listdir

    def listdir(path: bytes) -> list[bytes]:
        if os.path.normpath(path) == os.fsencode(folder):
            raise OSError(number, os.strerror(number))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)


def test_a_dataset_that_is_not_there_raises_instead_of_looking_empty(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(_scan(tmp_path / "gone"))


def test_the_output_folder_is_never_scanned_even_through_a_link(tmp_path: Path) -> None:
    _put(tmp_path, b"song.flac", b"results/tracks/song.flac/separation/drums.flac")
    (tmp_path / "a-link").symlink_to("results")
    (tmp_path / "b-link").symlink_to("results/tracks")
    scan = Scan(tmp_path, out=tmp_path / "results")

    assert _paths(scan) == [b"song.flac"]


def test_the_output_folder_of_another_run_is_never_scanned(tmp_path: Path) -> None:
    _put(tmp_path, b"song.flac", b"old/_pipeline/tracks/x/drums.flac", b"old/_pipeline/ledger.db")
    _put(tmp_path, b"tracks/mine.flac")
    scan = _scan(tmp_path)

    assert _paths(scan) == [b"song.flac", b"tracks/mine.flac"]
    assert scan.examples == {"output folder": ["old/_pipeline"]}


TREE = (
    b"live/2019/a.flac",
    b"live/2019/b.mp3",
    b"live/a.flac",
    b"old\xff/a.flac",
    b"raw [take]/x\n.wav",
    b"studio/live",
    b"top.FLAC",
    b"top.flac",
)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ([], [], [0, 1, 2, 3, 4, 5, 6, 7]),
        (["*.flac"], [], [0, 2, 3, 7]),
        (["*.[fF][lL]*"], [], [0, 2, 3, 6, 7]),
        (["*.flac", "*.mp3"], [], [0, 1, 2, 3, 7]),
        (["live"], [], [0, 1, 2, 5]),
        (["live/"], [], [0, 1, 2]),
        (["liv"], [], []),
        (["live/*"], [], [2]),
        (["live/**"], [], [0, 1, 2]),
        (["live/2019/"], [], [0, 1]),
        (["live/**/*.flac"], [], [0, 2]),
        (["**/*.flac"], [], [0, 2, 3, 7]),
        (["**/2019/*"], [], [0, 1]),
        (["/*.flac"], [], [7]),
        (["./live/a.flac"], [], [2]),
        (["l**3"], [], [1]),
        (["20[0-9]?"], [], [0, 1]),
        (["[!lst]*"], [], [0, 1, 2, 3, 4]),
        ([r"raw \[take\]"], [], [4]),
        (["raw [[]take]"], [], [4]),
        (["raw [take"], [], []),
        (["live[!x]a.flac"], [], []),
        (["x?.wav"], [], [4]),
        (["old\udcff"], [], [3]),
        (["old?"], [], [3]),
        ([""], [], []),
        ([], ["2019"], [2, 3, 4, 5, 6, 7]),
        ([], ["live/"], [3, 4, 5, 6, 7]),
        ([], ["live/2019"], [2, 3, 4, 5, 6, 7]),
        ([], ["live/*"], [3, 4, 5, 6, 7]),
        ([], ["*.flac", "*.FLAC"], [1, 4, 5]),
        (["*.flac"], ["live"], [3, 7]),
        (["top.flac"], ["top.*"], []),
    ],
)
def test_filters_choose_what_their_patterns_say(
    tmp_path: Path, include: list[str], exclude: list[str], expected: list[int]
) -> None:
    _put(tmp_path, *TREE)

    walked = _paths(_scan(tmp_path, include=include, exclude=exclude))
    listed = _paths(_scan(tmp_path, include=include, exclude=exclude, names=TREE))

    assert walked == listed == [TREE[index] for index in expected]


def test_an_excluded_folder_is_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _put(tmp_path, b"keep/a.flac", b"drop/b/c.flac", b"gone/d.flac")
    real = os.listdir
    entered: list[bytes] = []

    def listdir(path: bytes) -> list[bytes]:
        entered.append(os.path.relpath(path, os.fsencode(tmp_path)))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)

    assert _paths(_scan(tmp_path, exclude=["dr*", "gone/"])) == [b"keep/a.flac"]
    assert entered == [b".", b"keep"]


def test_a_list_of_names_gives_those_files_once_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(tmp_path, b"set/b.flac", b"set/a.flac", b"set/d/c.flac", b"set/not-listed.flac")
    monkeypatch.chdir(tmp_path)
    absolute = os.fsencode(tmp_path / "set" / "a.flac")
    names = [b"set/b.flac", absolute, b"./a.flac", b"d/../d//c.flac"]

    assert _paths(_scan(Path("set"), names=names)) == [b"b.flac", b"a.flac", b"d/c.flac"]


def test_a_list_may_name_the_dataset_by_a_link_to_it(tmp_path: Path) -> None:
    _put(tmp_path, b"set/a.flac", b"set/b.flac")
    (tmp_path / "link").symlink_to("set")
    names = [os.fsencode(tmp_path / "link" / "a.flac"), os.fsencode(tmp_path / "set" / "b.flac")]

    assert _paths(_scan(tmp_path / "link", names=names)) == [b"a.flac", b"b.flac"]


def test_what_a_list_names_in_vain_is_counted_with_its_name(tmp_path: Path) -> None:
    _put(tmp_path, b"set/a.flac", b"set/_pipeline/tracks/a.flac/drums.flac", b"other.flac")
    _put(tmp_path, b"set-b/a.flac")
    outside = os.fsencode(tmp_path / "set-b" / "a.flac")
    names = [b"gone\xff.flac", b"nul\0.flac", b"../other.flac", b"..", outside, b"_pipeline", b"."]
    scan = _scan(tmp_path / "set", names=[*names, b"_pipeline/tracks/a.flac/drums.flac"])

    assert _paths(scan) == []
    counts = {"not found": 2, "outside the dataset": 3, "folder": 2, "output folder": 1}
    assert scan.skipped == counts
    assert scan.examples["not found"] == [r"gone\xff.flac", r"nul\x00.flac"]
    assert scan.examples["outside the dataset"][:2] == ["../other.flac", ".."]


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (b"", []),
        (b"a.flac\nb c .flac\n", [b"a.flac", b"b c .flac"]),
        (b"a.flac\n\n\xff.flac", [b"a.flac", b"\xff.flac"]),
        (b"a.flac\r\nb.flac\r\n", [b"a.flac", b"b.flac"]),
        (b"a\nb.flac\0c\r.flac\r\0", [b"a\nb.flac", b"c\r.flac\r"]),
        (b"-.flac\0", [b"-.flac"]),
    ],
)
def test_a_list_is_split_at_lines_or_at_nul(written: bytes, names: list[bytes]) -> None:
    assert list(read_names(io.BytesIO(written))) == names


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
def test_a_long_list_is_split_as_a_short_one(separator: bytes) -> None:
    names = [b"%07d.flac" % number for number in range(20_000)]

    assert list(read_names(io.BytesIO(separator.join(names)))) == names


@pytest.mark.parametrize(
    ("name", "content", "audio"),
    [
        ("song.flac", FLAC_HEAD, True),
        ("no extension", FLAC_HEAD, True),
        ("lies.jpg", FLAC_HEAD, True),
        ("LOUD.WAV", b"not a wave file", True),
        ("empty.mp3", b"", True),
        ("cover.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(64), False),
        ("notes.txt", b"hello", False),
        ("empty", b"", False),
        ("._song.flac", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(64), False),
    ],
)
def test_audio_is_known_by_its_first_bytes_or_else_by_its_name(
    tmp_path: Path, name: str, content: bytes, audio: bool
) -> None:
    (tmp_path / name).write_bytes(content)

    assert is_audio(tmp_path, os.fsencode(name)) is audio


def test_what_cannot_be_opened_is_judged_by_its_name(tmp_path: Path) -> None:
    assert is_audio(tmp_path, b"gone.flac")
    assert not is_audio(tmp_path, b"gone.jpg")


@pytest.mark.timeout(10)
def test_a_fifo_that_came_after_the_walk_does_not_hold_the_run(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "song.flac")

    assert not is_audio(tmp_path, b"song.flac")


def test_looking_at_files_leaves_no_descriptor_open(tmp_path: Path) -> None:
    _put(tmp_path, b"song.flac", b"cover.jpg")
    os.mkfifo(tmp_path / "pipe.flac")
    before = len(os.listdir("/proc/self/fd"))

    for name in (b"song.flac", b"cover.jpg", b"pipe.flac", b"gone.flac") * 5:
        is_audio(tmp_path, name)

    assert len(os.listdir("/proc/self/fd")) == before


def test_ten_thousand_files_are_found_in_a_moment(tmp_path: Path) -> None:
    for folder in range(10):
        (tmp_path / str(folder)).mkdir()
        for number in range(1000):
            os.mknod(tmp_path / str(folder) / f"{number:04}.flac")
    started = time.monotonic()

    count = sum(1 for _ in _scan(tmp_path))

    # Measured: 0.05 s on tmpfs, 2 cores. The bound is for a loaded machine.
    assert count == 10_000
    assert time.monotonic() - started < 2.0


def test_the_scan_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'scipy', 'soundfile', 'torch', 'librosa', 'sqlalchemy'}"
    code = f"import sys, pipeline.scan; print(*{heavy} & set(sys.modules))"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == ""
