"""Settings of a method on the command line: ``--config NAME=VALUE``, repeatable."""

from __future__ import annotations

from collections.abc import Iterable

from crossview.errors import InvalidValue


def settings(texts: Iterable[str] | None) -> dict[str, str]:
    """Names and values as typed; InvalidValue for a text without an equals sign."""
    return dict(_setting(text) for text in texts or [])


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidValue(f"--config takes NAME=VALUE, got {text!r}.")
    return name.strip(), value.strip()
