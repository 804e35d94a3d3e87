"""The two streams of the command line: data to stdout, words to stderr. Only `cli*.py` come here."""

from __future__ import annotations

import sys
from contextlib import suppress


def put(text: str) -> None:
    """Print data."""
    print(text)


def say(text: str) -> None:
    """Print words. Where nobody listens, the exit code tells it too."""
    with suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr)
