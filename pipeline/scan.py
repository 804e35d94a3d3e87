"""What lies in a dataset folder: names, stat and magic bytes, nothing heavier."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.globs import any_of
from stages.containers import AUDIO_EXTENSIONS, sniff

EXAMPLES_PER_REASON = 5
HEAD_BYTES = 4096  # one page: costs what 64 bytes cost
NAMES_CHUNK_BYTES = 1 << 16

# What macOS leaves beside every file on a foreign disk, under its name with "._" before it.
APPLE_DOUBLE = b"\x00\x05\x16\x07"

_KINDS = {
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFDIR: "folder",
}
_GONE = (errno.ENOENT, errno.ENOTDIR)
_ERRORS = {errno.ELOOP: "loop", errno.ENAMETOOLONG: "path too long"}


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file as stat saw it; `path` is relative to the dataset, in the file system's bytes."""

    path: bytes
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int


class Scan:
    """The regular files of a dataset that pass the filters, found while one iterates.

    A pattern without `/` names a file or any folder above it; one with `/` is held against the
    whole relative path; one that ends with `/` names folders only, with everything in them. `*`,
    `?` and `[...]` cross no folder, `**` does, a backslash takes the meaning from what follows.
    `exclude` wins, and an excluded folder is not entered.

    `skipped` counts what was left out for another reason than a filter, by that reason, and
    `examples` shows the first few of each; both grow while one iterates.
    """

    def __init__(
        self,
        dataset: Path,
        *,
        out: Path,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        names: Iterable[bytes] | None = None,
    ) -> None:
        given = os.fsencode(dataset)
        self._root = os.path.join(os.path.realpath(given), b"")
        self._roots = (self._root, os.path.join(os.path.abspath(given), b""))
        self._out = os.fsencode(out)
        self._include = any_of(include, whole=True)
        self._exclude = any_of(exclude, whole=False)
        self._names = names
        self._output: tuple[int, int] | None = None
        self._visited: set[tuple[int, int]] = set()
        self._judged: dict[bytes, bool] = {}
        self.skipped: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def __iter__(self) -> Iterator[FoundFile]:
        return self.files()

    def files(self) -> Iterator[FoundFile]:
        """Give every candidate by stat alone, opening none; folders depth first, in byte order.

        With `names` it gives those files, each once, in the order of the list. A name may be
        absolute, relative to the dataset, or relative to the working directory.

        Raises:
            OSError: the dataset itself cannot be listed. What is below it is counted instead.
        """
        self.skipped.clear()
        self.examples.clear()
        self._output = _identity(self._out)
        return self._walk() if self._names is None else self._listed(self._names)

    def _walk(self) -> Iterator[FoundFile]:
        root = os.stat(self._root)
        self._visited = {(root.st_dev, root.st_ino)}
        stack = [(b"", iter(self._list(b"")))]
        while stack:
            folder, names = stack[-1]
            name = next(names, None)
            if name is None:
                stack.pop()
                continue
            path = folder + name
            if self._excluded(path):
                continue
            looked = self._look(path, gone="changed while scanning")
            if looked is None:
                continue
            info, linked = looked
            if stat.S_ISDIR(info.st_mode):
                stack.append((path + b"/", iter(self._enter(path, info, linked=linked))))
            else:
                yield from self._regular(path, info)

    def _enter(self, path: bytes, info: os.stat_result, *, linked: bool) -> list[bytes]:
        """List a folder, or give nothing where it must not be entered."""
        identity = (info.st_dev, info.st_ino)
        if identity == self._output or self._excluded(path + b"/"):
            return []
        # Only a link can close a loop. A real folder is entered even when a link led there before,
        # or filters that name the real path would lose its files.
        if linked and identity in self._visited:
            return self._skip("loop", path)
        if linked and self._in_output(self._root + path):
            return self._skip("output folder", path)
        self._visited.add(identity)
        try:
            return self._list(path)
        except OSError as error:
            gone = error.errno in _GONE
            reason = "changed while scanning" if gone else "unreadable folder"
            return self._skip(_ERRORS.get(error.errno or 0, reason), path)

    def _list(self, path: bytes) -> list[bytes]:
        # Names only, sorted: a million in one folder are 60 MB as bytes, several times that as
        # DirEntry objects, and each file costs one stat either way.
        names = os.listdir(self._root + path)
        if b"ledger.db" in names and b"tracks" in names:
            return self._skip("output folder", path or b".")
        names.sort()
        return names

    def _listed(self, names: Iterable[bytes]) -> Iterator[FoundFile]:
        given: set[bytes] = set()
        for name in names:
            path = self._inside(name)
            if path is None:
                self._skip("outside the dataset", name)
            elif path not in given:
                given.add(path)
                yield from self._named(path)

    def _named(self, path: bytes) -> Iterator[FoundFile]:
        if self._excluded(path):
            return
        if b"\0" in path:
            self._skip("not found", path)
            return
        looked = self._look(path, gone="not found")
        if looked is None:
            return
        if self._in_output(os.path.dirname(self._root + path)):
            self._skip("output folder", path)
        else:
            yield from self._regular(path, looked[0])

    def _inside(self, name: bytes) -> bytes | None:
        """Give the path relative to the dataset, or None where the name leads out of it."""
        relative = os.path.normpath(name)
        escapes = relative.startswith((b"/", b"../")) or relative == b".."
        if not escapes and os.path.lexists(self._root + relative):
            return relative
        absolute = os.path.abspath(name)  # `find dataset -name '*.flac'` says dataset/a.flac
        for root in self._roots:
            if absolute.startswith(root):
                return absolute[len(root) :]
        return None if escapes else relative

    def _look(self, path: bytes, *, gone: str) -> tuple[os.stat_result, bool] | None:
        """Stat what is there, or the target of a link, and say whether it was one."""
        linked = False
        try:
            info = os.lstat(self._root + path)
            linked = stat.S_ISLNK(info.st_mode)
            return (os.stat(self._root + path) if linked else info), linked
        except OSError as error:
            missing = "dangling link" if linked else gone
            reason = missing if error.errno in _GONE else "unreadable"
            self._skip(_ERRORS.get(error.errno or 0, reason), path)
            return None

    def _regular(self, path: bytes, info: os.stat_result) -> Iterator[FoundFile]:
        if not stat.S_ISREG(info.st_mode):
            self._skip(_KINDS.get(stat.S_IFMT(info.st_mode), "not a file"), path)
        elif self._include is None or self._include.search(_text(path)):
            times_ns = info.st_mtime_ns, info.st_ctime_ns
            yield FoundFile(path, info.st_size, *times_ns, info.st_ino, info.st_dev)

    def _excluded(self, path: bytes) -> bool:
        return self._exclude is not None and self._exclude.search(_text(path)) is not None

    def _in_output(self, folder: bytes) -> bool:
        """Say whether a folder, links resolved, is an output folder or lies in one."""
        if folder not in self._judged:
            above = os.path.realpath(folder)
            while len(above) > 1 and not self._is_output(above):
                above = os.path.dirname(above)
            self._judged[folder] = len(above) > 1
        return self._judged[folder]

    def _is_output(self, folder: bytes) -> bool:
        marks = (b"ledger.db", b"tracks")
        return (self._output is not None and _identity(folder) == self._output) or all(
            os.path.lexists(os.path.join(folder, mark)) for mark in marks
        )

    def _skip(self, reason: str, path: bytes) -> list[bytes]:
        self.skipped[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < EXAMPLES_PER_REASON:
            shown.append(display(path))
        return []


def is_audio(dataset: Path, path: bytes) -> bool:
    """Say whether the first bytes are audio, or else the name claims to be.

    A file that only claims it is let through: it fails later with a reason, instead of vanishing
    unnoticed.
    """
    claims = os.path.splitext(path)[1].lower() in AUDIO_EXTENSIONS
    # Without O_NONBLOCK a fifo put here since the walk would hold the run for ever.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(os.path.join(os.fsencode(dataset), path), flags)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                return False
            head = os.read(file, HEAD_BYTES)
        finally:
            os.close(file)
    except OSError:
        return claims
    if head.startswith(APPLE_DOUBLE):
        return False
    return claims or sniff(head) is not None


def display(path: bytes) -> str:
    r"""Give a path for people: `\xff` for bytes that are not UTF-8, `\x1b` for control characters.

    Nothing in it can steer a terminal or turn the direction of text. Not for finding a file again.
    """
    text = path.decode("utf-8", "backslashreplace")
    return "".join(map(_shown, text)) if not text.isprintable() else text


def _shown(character: str) -> str:
    turns = unicodedata.bidirectional(character) in _TURNS
    if turns or unicodedata.category(character) in ("Cc", "Zl", "Zp"):
        return character.encode("unicode_escape").decode("ascii")
    return character


_TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def read_names(stream: BinaryIO) -> Iterator[bytes]:
    """Give the names of a list, one per line, or separated by NUL where its beginning holds one.

    A carriage return before a newline is dropped (lists from Windows); NUL keeps every name whole.
    """
    rest = stream.read(NAMES_CHUNK_BYTES)
    lines = b"\0" not in rest
    separator, ending = (b"\n", b"\r") if lines else (b"\0", b"")
    while chunk := stream.read(NAMES_CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(separator)
        yield from filter(None, (name.removesuffix(ending) for name in whole))
    yield from filter(None, (name.removesuffix(ending) for name in rest.split(separator)))


def _identity(path: bytes) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _text(path: bytes) -> str:
    # As os.fsdecode gives arguments in a UTF-8 locale, so that a pattern can name any byte.
    return path.decode("utf-8", "surrogateescape")
