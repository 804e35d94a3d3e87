"""Globs for `--include` and `--exclude`, as users of rsync and .gitignore expect them.

A pattern without `/` is for the name of a file or of any folder above it; one with `/` is for the
whole relative path. `*` and `?` stay within a name, `**` crosses folders. Names that are not UTF-8
match by their bytes.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence


def any_of(patterns: Sequence[str], *, whole: bool) -> re.Pattern[str] | None:
    """Return an expression that finds any of the patterns in a relative path, None for none.

    Args:
        whole: a pattern with `/` must match the path to its end, not just a folder above.
    """
    if not patterns:
        return None
    expressions = (_expression(pattern, whole=whole) for pattern in patterns)
    return re.compile("|".join(expressions), re.DOTALL)


def _expression(pattern: str, *, whole: bool) -> str:
    """Translate a pattern; `whole`: one with `/` must match to the end, not just a folder above."""
    body = pattern.removeprefix("./").removesuffix("/")
    anchored = "/" in body
    start = r"\A" if anchored else r"(?:\A|/)"
    end = r"\Z" if anchored and whole else r"(?:/|\Z)"
    if pattern.endswith("/"):
        end = "/"
    return start + "".join(map(_translated, _TOKEN.findall(body.lstrip("/")))) + end


_TOKEN = re.compile(r"\A\*\*/|/\*\*/|/\*\*\Z|\*+|\?|\[!?\]?[^]/]*\]|\\.|.", re.DOTALL)
_GLOBS = {"**/": "(?:.*/)?", "/**/": "/(?:.*/)?", "/**": "/.+", "*": "[^/]*", "?": "[^/]"}


def _translated(token: str) -> str:
    if token in _GLOBS:
        return _GLOBS[token]
    if token.startswith("*"):
        return ".*"
    if token.startswith("[") and len(token) > 1:
        return "(?!/)" + fnmatch.translate(token)[:-2]  # all but its closing \Z
    return re.escape(token[1:] if token.startswith("\\") and len(token) > 1 else token)
