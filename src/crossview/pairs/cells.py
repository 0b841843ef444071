"""Cells of a list on disk as values, or an error that names the file and the line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crossview.errors import BadData


def choice(name: str, text: str, allowed: Sequence[str], where: str) -> str:
    """``text``, or the first of ``allowed`` where it is empty; BadData if it is not allowed."""
    value = text or allowed[0]
    if value not in allowed:
        raise BadData(f"{where}: {name} is {value!r}; allowed: {', '.join(allowed)}.")
    return value


def number(name: str, text: str, limits: tuple[float, float], where: str) -> float:
    """A number within ``limits`` (both included), or NaN where ``text`` is empty."""
    if not text:
        return math.nan
    low, high = limits
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise BadData(f"{where}: {name} is {text!r}; expected a number from {low:g} to {high:g}.")
    return value
