"""The sentences that crossview writes into pages and answers, one file a language."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGE = "en"  # the file below ``languages``; pages name it


def phrase(key: str, **values: object) -> str:
    """The text of a key such as ``results.caption``, filled with values.

    A text that counts is chosen by ``count``, one of the values. Raises KeyError for a key that
    the language does not have, and for a value that its text needs and does not get.
    """
    text: Any = _load_texts()
    for name in key.split("."):
        text = text[name]
    if isinstance(text, dict):
        text = text["one" if values["count"] == 1 else "other"]
    return str(text).format(**values)


@cache
def _load_texts() -> dict[str, Any]:
    file = files("crossview") / "languages" / f"{LANGUAGE}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))
