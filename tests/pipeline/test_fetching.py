"""One file from a server that serves it in every bad way: what comes is the file, or a clear no."""

from __future__ import annotations

import errno
import io
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from hashlib import sha256
from http.client import HTTPMessage
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import fetching
from pipeline.errors import NotFetched, Unfit, Unreachable, WrongBytes
from pipeline.fetch_bar import FetchBar
from pipeline.fetching import Patience, Source, download
from pipeline.http_answers import (
    Passing,
    Redirects,
    extent,
    nobody_there,
    opener,
    retry_after,
    validator,
)
from tests.web import Asked, Site, content, served

CONTENT = content("weights", 300_000)
SHA256 = sha256(CONTENT).hexdigest()
HALF = 150_000


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with served() as site:
        site.files["/w"] = CONTENT
        yield site


class Heard:
    """Collects what a fetch says, and how long it rests."""

    def __init__(self, *, silence_s: float = 5.0, tries: int = 4) -> None:
        self.lines: list[str] = []
        self.rests_s: list[float] = []
        self.moves: list[tuple[int, int | None]] = []
        self.patience = Patience(silence_s=silence_s, tries=tries, sleep=self.rests_s.append)

    def begin(self, name: str) -> None:
        pass

    def move(self, done_bytes: int, total_bytes: int | None) -> None:
        self.moves.append((done_bytes, total_bytes))

    def say(self, line: str) -> None:
        self.lines.append(line)


def _get(site: Site, part: Path, heard: Heard | None = None, *, sha256: str | None = SHA256) -> str:
    heard = heard or Heard()
    source = Source(f"{site.url}/w", sha256)
    return download(source, part, patience=heard.patience, watcher=heard)


def test_a_file_that_comes_slowly_comes_whole(site: Site, tmp_path: Path) -> None:
    site.script, heard = ["slow"], Heard()

    assert _get(site, tmp_path / "w", heard) == SHA256

    assert (tmp_path / "w").read_bytes() == CONTENT
    assert heard.moves[-1] == (len(CONTENT), len(CONTENT))
    assert len(heard.moves) > 3


@pytest.mark.parametrize("how", [f"break:{HALF}", f"chunked_break:{HALF}", f"stall:{HALF}"])
def test_after_a_break_only_the_rest_is_transferred(site: Site, tmp_path: Path, how: str) -> None:
    site.script, heard = [how], Heard(silence_s=0.3)

    assert _get(site, tmp_path / "w", heard) == SHA256

    assert (tmp_path / "w").read_bytes() == CONTENT
    assert site.asked[-1] == Asked("/w", f"bytes={HALF}-", len(CONTENT) - HALF)
    assert heard.rests_s == [1.0]
    assert "tried again in 1 s" in heard.lines[0]


def test_what_an_earlier_command_left_is_gone_on_from(site: Site, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(CONTENT[:HALF])

    assert _get(site, tmp_path / "w") == SHA256

    assert site.sent == len(CONTENT) - HALF


def test_a_file_that_lacks_only_its_name_is_not_transferred_again(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "w").write_bytes(CONTENT)

    assert _get(site, tmp_path / "w") == SHA256

    assert site.sent == 0


def test_a_length_that_is_too_large_costs_one_more_question(site: Site, tmp_path: Path) -> None:
    site.script = ["length:100"]

    assert _get(site, tmp_path / "w") == SHA256

    assert site.sent == len(CONTENT)


def test_a_server_that_always_claims_too_much_is_given_up(site: Site, tmp_path: Path) -> None:
    site.always, heard = "no_range:100", Heard(tries=3)

    with pytest.raises(
        NotFetched, match="broke off after 300000 of 300100 bytes, at the last of 3"
    ):
        _get(site, tmp_path / "w", heard)

    assert len(site.asked) == 3


def test_a_length_that_is_too_small_gives_other_bytes(site: Site, tmp_path: Path) -> None:
    site.script = ["length:-100"]

    with pytest.raises(WrongBytes, match=f"expected the SHA-256 {SHA256}"):
        _get(site, tmp_path / "w")

    assert not (tmp_path / "w").exists()


def test_wrong_bytes_are_removed_and_both_hashes_are_said(site: Site, tmp_path: Path) -> None:
    site.files["/w"] = b"something else"

    with pytest.raises(WrongBytes) as wrong:
        _get(site, tmp_path / "w")

    assert SHA256 in str(wrong.value)
    assert sha256(b"something else").hexdigest() in str(wrong.value)
    assert not (tmp_path / "w").exists()
    assert wrong.value.exit_code == 1


def test_a_server_that_ignores_the_range_is_taken_from_the_start(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "w").write_bytes(CONTENT[:HALF])
    site.always = "no_range"

    assert _get(site, tmp_path / "w") == SHA256

    assert site.asked == [Asked("/w", f"bytes={HALF}-", len(CONTENT))]


def test_a_beginning_that_is_not_of_this_file_is_dropped(site: Site, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"\0" * HALF)
    heard = Heard()

    assert _get(site, tmp_path / "w", heard) == SHA256

    assert (tmp_path / "w").read_bytes() == CONTENT
    assert site.sent == 2 * len(CONTENT) - HALF
    assert "begun anew" in heard.lines[0]


def test_a_beginning_that_is_longer_than_the_file_is_dropped(site: Site, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(CONTENT + b"more")

    assert _get(site, tmp_path / "w") == SHA256

    assert site.sent == len(CONTENT)


def test_a_file_that_changes_after_a_break_is_not_put_together_of_two(
    site: Site, tmp_path: Path
) -> None:
    """No hash is known: only the version that the server names tells the two apart."""
    other = content("other weights", len(CONTENT))
    site.script = [f"break:{HALF}"]
    heard = Heard()
    heard.patience = Patience(tries=3, sleep=lambda _: site.files.update({"/w": other}))

    assert _get(site, tmp_path / "w", heard, sha256=None) == sha256(other).hexdigest()

    assert (tmp_path / "w").read_bytes() == other


def test_without_a_hash_a_break_is_gone_on_from_but_not_what_another_process_left(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "w").write_bytes(b"\0" * HALF)
    site.script = [f"break:{HALF}"]

    assert _get(site, tmp_path / "w", sha256=None) == SHA256

    assert [one.range for one in site.asked] == [None, f"bytes={HALF}-"]
    assert site.sent == len(CONTENT)


def test_without_hash_and_length_nothing_is_taken_for_whole(site: Site, tmp_path: Path) -> None:
    site.always = "no_length"

    with pytest.raises(NotFetched, match="nothing shows it is whole"):
        _get(site, tmp_path / "w", sha256=None)
    assert _get(site, tmp_path / "v") == SHA256

    site.always = "chunked"
    assert _get(site, tmp_path / "v", sha256=None) == SHA256


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_refusal_is_not_asked_for_twice(site: Site, tmp_path: Path, code: int) -> None:
    site.always = f"status:{code}"

    with pytest.raises(NotFetched, match=f"it answered {code}") as refused:
        _get(site, tmp_path / "w")

    assert len(site.asked) == 1
    assert refused.value.exit_code == 4
    assert "pipeline models import" in str(refused.value)


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_in_trouble_is_asked_again(site: Site, tmp_path: Path, code: int) -> None:
    site.script, heard = [f"status:{code}"] * 2, Heard()

    assert _get(site, tmp_path / "w", heard) == SHA256

    assert heard.rests_s == [1.0, 2.0]


def test_a_server_says_how_long_to_wait_and_is_believed_up_to_a_minute(
    site: Site, tmp_path: Path
) -> None:
    site.script = ["status:503:Retry-After=7", "status:503:Retry-After=86400"]
    heard = Heard()

    _get(site, tmp_path / "w", heard)

    assert heard.rests_s == [7.0, 60.0]
    assert retry_after(Message()) is None


def test_trouble_that_does_not_end_is_given_up_after_so_many_tries(
    site: Site, tmp_path: Path
) -> None:
    site.always, heard = "status:503", Heard(tries=3)

    with pytest.raises(NotFetched, match=r"503 .* at the last of 3 tries"):
        _get(site, tmp_path / "w", heard)

    assert len(site.asked) == 3
    assert heard.rests_s == [1.0, 2.0]


def test_a_redirect_is_followed_and_the_rest_asked_for_there(site: Site, tmp_path: Path) -> None:
    site.files["/elsewhere"] = site.files.pop("/w")
    (tmp_path / "w").write_bytes(CONTENT[:HALF])
    site.script = ["redirect:/elsewhere"]

    assert _get(site, tmp_path / "w") == SHA256

    assert site.asked[-1] == Asked("/elsewhere", f"bytes={HALF}-", len(CONTENT) - HALF)


def test_https_never_leads_to_http() -> None:
    request = urllib.request.Request("https://example.org/w")

    for unsafe in ("http://example.org/w", "HTTP://example.org/w", "ftp://example.org/w"):
        with pytest.raises(NotFetched, match="not https"):
            Redirects().redirect_request(request, io.BytesIO(), 302, "Found", HTTPMessage(), unsafe)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "data:,x", "ftp://127.0.0.1/w"])
def test_only_http_is_spoken(url: str) -> None:
    with pytest.raises(urllib.error.URLError, match="unknown url type"):
        opener().open(url)


def test_where_nobody_listens_there_is_no_waiting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/w"
    heard = Heard()

    with pytest.raises(Unreachable, match="Connection refused"):
        download(Source(url, SHA256), tmp_path / "w", patience=heard.patience, watcher=heard)

    assert (heard.rests_s, heard.lines) == ([], [])
    assert nobody_there(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    assert nobody_there(TimeoutError("timed out"))
    assert not nobody_there(ConnectionResetError())


def test_a_network_that_goes_in_the_middle_is_waited_for(site: Site, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gone = f"http://127.0.0.1:{taken.getsockname()[1]}/w"
    site.script, heard = [f"break:{HALF}", f"redirect:{gone}"], Heard()

    assert _get(site, tmp_path / "w", heard) == SHA256

    assert heard.rests_s == [1.0, 2.0]
    assert "Connection refused; tried again in 2 s" in heard.lines[1]


def test_a_proxy_is_asked_where_the_environment_names_one(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", site.url)
    source = Source("http://weights.invalid/w", SHA256)

    download(source, tmp_path / "w", patience=Patience(), watcher=Heard())

    assert site.asked[0].path == "http://weights.invalid/w"


def test_a_disk_that_is_too_small_is_said_before_anything_comes(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))

    with pytest.raises(Unfit, match=r"needs 300\.0 kB, and 1\.0 kB are free"):
        _get(site, tmp_path / "w")

    assert not (tmp_path / "w").exists()


def test_an_answer_without_end_fills_no_disk(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_MAX_BYTES", 100_000)
    site.always = "no_length"

    with pytest.raises(NotFetched, match="gives more than"):
        _get(site, tmp_path / "w")


def test_a_part_that_says_not_which_is_no_answer() -> None:
    headers = Message()
    headers["Content-Range"] = "bytes */7"

    with pytest.raises(Passing):
        extent(SimpleNamespace(status=206, headers=headers, length=3))  # type: ignore[arg-type]


def test_a_weak_tag_names_no_bytes() -> None:
    headers = Message()
    headers["ETag"] = 'W/"1"'
    assert validator(headers) is None
    headers["Last-Modified"] = "Sat, 21 Nov 2026 15:00:00 GMT"

    assert validator(headers) == "Sat, 21 Nov 2026 15:00:00 GMT"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_off_a_terminal_a_fetch_says_a_line_now_and_then() -> None:
    stream, now = io.StringIO(), [0.0]
    bar = FetchBar(stream, clock=lambda: now[0])
    bar.begin("w")

    for second in range(25):
        now[0] = float(second)
        bar.move(second * 1000, 84_000)
    bar.close()

    assert stream.getvalue() == "w: 10.0 kB of 84.0 kB\nw: 20.0 kB of 84.0 kB\n"


def test_on_a_terminal_a_fetch_is_a_bar() -> None:
    stream = Terminal()
    bar = FetchBar(stream)
    bar.begin("w")

    bar.move(42_000, 84_000)
    bar.say("said")
    bar.close()

    assert "w:" in stream.getvalue()
    assert "84.0k" in stream.getvalue()
    assert "said\n" in stream.getvalue()


class HungUp(Terminal):
    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize("kind", [io.StringIO, Terminal, HungUp])
def test_a_terminal_that_is_gone_stops_no_fetch(kind: type[io.StringIO]) -> None:
    stream = kind()
    ours = FetchBar(stream, every_s=0.0)
    if kind is not HungUp:
        stream.close()

    for bar in (ours, FetchBar(None, every_s=0.0)):
        bar.begin("w")
        bar.move(1, 2)
        bar.move(2, 2)
        bar.say("said")
        bar.close()
