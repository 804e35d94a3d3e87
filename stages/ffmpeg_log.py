"""What ffmpeg says on stderr while it works: the only place where it admits damage."""

from __future__ import annotations

import re
import threading
from typing import IO

from stages.base import Reason, TrackUnusable

# `[aac @ 0x55d0] [error] text`, with any number of contexts before the level.
_LINE = re.compile(r"((?:\[[^]]* @ 0x[0-9a-f]+\] )*)\[(info|error|fatal|panic)\] (.*)")
_DURATION = re.compile(r"  Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?),")
_STREAM = re.compile(r"  Stream #0:\d+\S*: (Audio|Video): (?:none \((\S+) / |(\w+))")
# How an MP4 calls a stream that only its shop's player can decode: FairPlay, Common Encryption.
_PROTECTED = re.compile(r"\((drms|enca) / ")
# What demuxers say where a file ends too early.
_ENDS_EARLY = ("partial file", "File ended prematurely")
_NO_DECODER = re.compile(r"[Dd]ecoder .*not found|no decoder found")

# A few bits that random bytes have too.
_WEAK_MAGIC = ("mpeg", "adts", "ac3")

_MAX_LINE_BYTES = 4096
_MAX_QUOTED = 200

# For words that were written already and only have to be read.
_PATIENCE_S = 5.0


class FfmpegLog:
    """Drains ffmpeg's stderr in a thread of its own and keeps the few facts that matter.

    Tags are printed there too, by the megabyte if need be, so nothing else is kept.
    """

    def __init__(self, path: bytes) -> None:
        self.codec: str | None = None
        self.protected: str | None = None
        self.duration_s: float | None = None
        self.audio_streams = 0
        self.says_io = False
        self.errors = 0
        self.first_error = ""
        self.reason = Reason.DAMAGED
        self._video_streams = 0
        self._opening: list[str] = []
        self._decoding = False
        self._opened = threading.Event()
        self._path = path.decode(errors="replace")
        self._stderr: IO[bytes] | None = None
        self._thread = threading.Thread(target=self._drain, name="ffmpeg-log", daemon=True)

    @property
    def only_audio(self) -> bool:
        """Whether the container's length must be that of its one audio stream. Covers do not count."""
        return self.audio_streams == 1 and self._video_streams == 0

    def listen(self, stderr: IO[bytes]) -> None:
        """Begin to read."""
        self._stderr = stderr
        self._thread.start()

    def wait_for_input(self) -> None:
        """Wait until what ffmpeg says of its input is known. It says so before it writes audio."""
        self._opened.wait(timeout=_PATIENCE_S)

    def wait(self) -> None:
        """Wait until ffmpeg, which has ended, has been read to its last word."""
        self._thread.join(timeout=_PATIENCE_S)

    def close(self) -> None:
        """Stop listening. ffmpeg must have ended."""
        if self._stderr is None:
            return
        self.wait()
        if not self._thread.is_alive():
            self._stderr.close()

    def refuse_protected(self, container: str) -> None:
        """Refuse what would decode to noise.

        Raises:
            TrackUnusable: the first audio stream is encrypted.
        """
        if self.protected:
            raise TrackUnusable(
                Reason.UNSUPPORTED,
                f"codec {self.codec} in {container} is encrypted ({self.protected}): only the player "
                "of its shop can decode it. Get a copy without protection",
            )

    def refusal(self, container: str, trouble: str | None) -> TrackUnusable:
        """Return why ffmpeg gave no audio for a file that looks like `container`."""
        said = self._opening[0] if self._opening else trouble
        if any("matches no streams" in line for line in self._opening):
            return TrackUnusable(Reason.NOT_AUDIO, f"this {container} file has no audio stream")
        if any("moov atom not found" in line for line in self._opening):
            return TrackUnusable(Reason.TRUNCATED, "the index of this mp4 file (moov) is missing")
        if any(_NO_DECODER.search(line) for line in self._opening):
            return TrackUnusable(
                Reason.UNSUPPORTED,
                f"codec {self.codec} in {container}: ffmpeg has no decoder for it. Convert the file "
                "with a program that plays it",
            )
        if said is None:
            return TrackUnusable(Reason.EMPTY, f"no samples in this {container} file")
        reason = Reason.NOT_AUDIO if container in _WEAK_MAGIC else Reason.BAD_HEADER
        if self.reason is not Reason.DAMAGED:
            reason = self.reason
        return TrackUnusable(reason, f"looks like {container}, but cannot be opened: {said}")

    def _drain(self) -> None:
        if self._stderr is None:
            return
        while line := self._stderr.readline(_MAX_LINE_BYTES):
            self._take(line.decode(errors="replace").rstrip())
        self._opened.set()

    def _take(self, line: str) -> None:
        if match := _LINE.match(line):
            context, level, text = match.groups()
            if level == "info":
                self._take_fact(text)
            elif not context.startswith("[au @"):  # the muxer, which minds joined time stamps
                self._take_error(text)

    def _take_fact(self, text: str) -> None:
        if text.startswith("Stream mapping:"):
            self._decoding = True
            self._opened.set()
        if self._decoding:
            return
        if duration := _DURATION.match(text):
            hours, minutes, seconds = duration.groups()
            self.duration_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        elif stream := _STREAM.match(text):
            protected = _PROTECTED.search(text)
            if protected and stream[1] == "Audio" and not self.audio_streams:
                self.protected = protected[1]
            self._take_stream(stream[1], stream[2] or stream[3], cover="(attached pic)" in text)

    def _take_stream(self, kind: str, codec: str, *, cover: bool) -> None:
        if kind == "Audio":
            self.codec = self.codec or codec
            self.audio_streams += 1
        elif not cover:
            self._video_streams += 1

    def _take_error(self, text: str) -> None:
        quoted = self._quoted(text)
        if "Input/output error" in text:
            self.says_io = True
        elif "Cannot allocate memory" in text:
            self.reason = Reason.MEMORY
        elif not self.errors and any(words in text for words in _ENDS_EARLY):
            self.reason = Reason.TRUNCATED
        if not self._decoding:
            # Covers that cannot be read are complained of here too: no reason to fail the track.
            self._opening = [*self._opening, quoted][:20]
            return
        self.errors += 1
        self.first_error = self.first_error or quoted

    def _quoted(self, text: str) -> str:
        text = text.replace(f"file:{self._path}", "the file").replace(self._path, "the file")
        return "".join(char if char.isprintable() else "?" for char in text[:_MAX_QUOTED])
