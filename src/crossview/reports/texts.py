"""The sentences of the report: ``texts.toml``, where a translator finds all of them."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGE = "en"  # of texts.toml; the page names it


def phrase(key: str, **values: object) -> str:
    """The text of a key such as ``results.caption``, filled with values.

    A text that counts is chosen by ``count``, one of the values.
    """
    text: Any = _load_texts()
    for name in key.split("."):
        text = text[name]
    if isinstance(text, dict):
        text = text["one" if values["count"] == 1 else "other"]
    return str(text).format(**values)


@cache
def _load_texts() -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "texts.toml").read_text(encoding="utf-8"))
