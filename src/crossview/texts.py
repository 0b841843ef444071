"""The sentences that crossview writes into pages and answers, one file a language."""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from numbers import Real
from typing import Any

from crossview.errors import UnknownName

LANGUAGE = "en"  # the file below ``languages`` that has every text, whatever others lack
_SPOKEN = ContextVar("language", default=LANGUAGE)
_WANTED = re.compile(
    r"\s*([a-zA-Z]{1,8}|\*)(?:-[a-zA-Z0-9-]*)?\s*(?:;\s*[qQ]\s*=\s*([01](?:\.[0-9]{0,3})?))?\s*"
)
_MOST_WANTED = 2000  # characters of Accept-Language that are looked at


@cache
def list_languages() -> tuple[str, ...]:
    """The languages that there are, as ISO 639 names them: the names of the files."""
    folder = files("crossview") / "languages"
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml")))


@cache
def read_language_names() -> dict[str, str]:
    """What each language calls itself."""
    return {code: _load_texts(code)["language"]["name"] for code in list_languages()}


def match_language(name: str) -> str:
    """The language that is meant by ``de``, ``DE`` or ``de-AT``; :class:`UnknownName`: none."""
    short = re.split("[-_]", name.strip().lower(), maxsplit=1)[0]
    if short not in list_languages():
        raise UnknownName("language", name[:40], list_languages())
    return short


def choose_language(accepted: str) -> str:
    """The best language for a header Accept-Language (RFC 9110, 12.5.4); English where none is."""
    wanted: list[tuple[float, int, str]] = []
    for order, part in enumerate(accepted[:_MOST_WANTED].split(",")):
        found = _WANTED.fullmatch(part)
        if found is None:
            continue
        name = LANGUAGE if found[1] == "*" else found[1].lower()
        if (weight := float(found[2] or 1.0)) > 0.0 and name in list_languages():
            wanted.append((-weight, order, name))
    return min(wanted)[2] if wanted else LANGUAGE


@contextmanager
def speak(language: str) -> Iterator[None]:
    """Phrases within this block, in this thread or task, are of a language.

    Raises :class:`UnknownName` for one that there is not.
    """
    token = _SPOKEN.set(match_language(language))
    try:
        yield
    finally:
        _SPOKEN.reset(token)


def get_language() -> str:
    """The language that is spoken: pages name it."""
    return _SPOKEN.get()


def phrase(key: str, **values: object) -> str:
    """The text of a key such as ``results.caption``, filled with values.

    A text that counts is chosen by ``count``, one of the values. Numbers get the marks of the
    language. What a language lacks is said in English. Raises KeyError for a key that there is
    not, and for a value that its text needs and does not get.
    """
    language = get_language()
    text: Any = _load_texts(language)
    for name in key.split("."):
        text = text[name]
    if isinstance(text, dict):
        text = text["one" if values["count"] == 1 else "other"]
    return _open_formatter(language).vformat(str(text), (), values)


def get_table(name: str) -> dict[str, Any]:
    """All texts below a name, unfilled, for a script that fills them itself."""
    table: dict[str, Any] = _load_texts(get_language())[name]
    return table


@cache
def _load_texts(language: str) -> dict[str, Any]:
    file = files("crossview") / "languages" / f"{language}.toml"
    own = tomllib.loads(file.read_text(encoding="utf-8"))
    return own if language == LANGUAGE else _complete(own, _load_texts(LANGUAGE))


def _complete(own: dict[str, Any], english: dict[str, Any]) -> dict[str, Any]:
    """A table of texts with the English ones where it has none."""
    return english | {
        name: _complete(text, english[name])
        if isinstance(text, dict) and isinstance(english.get(name), dict)
        else text
        for name, text in own.items()
    }


@cache
def _open_formatter(language: str) -> _Formatter:
    return _Formatter(**_load_texts(language)["numbers"])


class _Formatter(string.Formatter):
    """As str.format, with the marks of a language in numbers."""

    def __init__(self, decimal: str, thousands: str) -> None:
        self._marks = str.maketrans({".": decimal, ",": thousands})

    def format_field(self, value: Any, format_spec: str) -> Any:
        text = format(value, format_spec)
        return text.translate(self._marks) if isinstance(value, Real) else text
