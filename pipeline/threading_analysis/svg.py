"""A few shapes of SVG, enough for a plot; no library for it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def text(x: float, y: float, words: str, *, kind: str = "", anchor: str = "start") -> str:
    """Return words whose baseline is at y; `kind` is a class of the style sheet."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def line(points: Sequence[tuple[float, float]], *, kind: str) -> str:
    """Return a line through points."""
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{corners}" class="{kind}"/>'


def dot(x: float, y: float, *, kind: str) -> str:
    """Return a marker."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" class="{kind}"/>'


def bar(x: float, y: float, width: float, height: float, *, kind: str) -> str:
    """Return a box from its upper left corner."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" '
        f'class="{kind}"/>'
    )


def document(width: float, height: float, *, style: str, shapes: Sequence[str]) -> str:
    """Return the whole file."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}">',
            f"<style>{style}</style>",
            bar(0, 0, width, height, kind="page"),
            *shapes,
            "</svg>\n",
        ]
    )
