"""The names that a card's measurement knows, light enough for the command line."""

from __future__ import annotations

FORMATS = ("exact", "balanced", "fast", "tf32", "float16")
HOWS = ("eager", "graph", "compiled")
