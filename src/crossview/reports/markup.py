"""HTML out of Python values: what is no :class:`Html` already is escaped, so text stays text."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

_VOID = {"img", "br", "meta", "link"}


class Html(str):
    """Text that is HTML already; only this module and drawn figures make it."""

    __slots__ = ()


Child = str | Iterable["Child"] | None


def tag(name: str, /, *children: Child, **attributes: Any) -> Html:
    """One element. ``class_`` writes class, ``data_x`` writes data-x.

    An attribute that is None or False is left out, one that is True stands alone.
    """
    written = "".join(
        _attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items()
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Child) -> Html:
    """Children one after the other: plain text is escaped, lists are opened, None is nothing."""
    if children is None:
        return Html("")
    if isinstance(children, Html):
        return children
    if isinstance(children, str):
        return Html(html.escape(children, quote=False))
    return Html("".join(join(child) for child in children))


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'
