"""Names to objects: the only module that knows every method and every data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossview.errors import BadData, InvalidValue, UnknownName
from crossview.pairs.pages import PageRef

if TYPE_CHECKING:
    from crossview.pairs.table import PairTable

METHODS = {
    "compass": "crossview.methods.compass",
    "geodtr": "crossview.methods.geodtr",
    "geodtr-plus": "crossview.methods.geodtr_plus",
    "safa": "crossview.methods.safa",
    "sample4geo": "crossview.methods.sample4geo",
}
DATASETS = ("pairs", "town")
RENDERED_LICENCE = "Apache-2.0, like crossview: every picture was rendered by it"
INFO_KEYS = ("synthetic", "training_data", "licence", "notes")


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set by name: its tables, and what is known of it."""

    name: str  # as given
    tables: Mapping[str, PairTable]  # by split
    info: Mapping[str, Any]  # INFO_KEYS: carried into the exported model


def method_page(name: str) -> PageRef:
    """A page by name, or by path (``./mine.py``)."""
    if name.endswith(".py") or "/" in name or "\\" in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise InvalidValue(f"No method page at {name}.\nNames: {', '.join(METHODS)}.")
        return PageRef.of_file(path)
    if name not in METHODS:
        raise UnknownName("method", name, METHODS)
    return PageRef(METHODS[name])


def open_data(name: str) -> Data:
    """``pairs:FILE.csv`` (or just ``FILE.csv``), ``town`` or ``town:FOLDER``.

    A file ``pairs.json`` beside the CSV may say what the pictures are: ``training_data`` and
    ``licence`` (sentences), ``synthetic`` (true for pictures that are not of Earth), ``notes``.
    """
    from crossview.datasets import pairs

    kind, _, root = name.partition(":")
    if name.endswith(".csv") and kind not in DATASETS:
        kind, root = "pairs", name
    if kind not in DATASETS:
        raise UnknownName("data set", kind, DATASETS)
    if kind == "pairs" and not root:
        raise InvalidValue("Data 'pairs' needs a file, as in --data pairs:path/to/pairs.csv")
    path = Path(root).expanduser()
    if kind == "town":
        from crossview.worlds.pairs import ensure_pairs

        path = ensure_pairs(Path(root or "town-data").expanduser())
    elif path.is_dir():
        path = path / "pairs.csv"
    return Data(name=name, tables=pairs.load(path), info=_info(path, kind))


def make_config(page: Any, values: Mapping[str, Any]) -> Any:
    """A page's Config with some fields replaced.

    Texts (from ``--config k=v``) are read by the type of the field's default; unknown names raise
    UnknownName, values that do not fit InvalidValue.
    """
    defaults = page.Config()
    known = {field.name: getattr(defaults, field.name) for field in fields(defaults)}
    given = {}
    for name, value in values.items():
        if name not in known:
            raise UnknownName("setting", name, known)
        given[name] = _typed(name, value, known[name]) if isinstance(value, str) else value
    return page.Config(**given)


def _typed(name: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    try:
        value = json.loads(text.lower() if isinstance(default, bool) else text)
    except json.JSONDecodeError:
        value = None
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(value)
    if default is not None and type(value) is not type(default):
        raise InvalidValue(
            f"setting {name} is {text!r}; expected a value like {json.dumps(default)}."
        )
    return value


def _info(path: Path, kind: str) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    info: dict[str, Any] = {}
    if beside.is_file():
        try:
            info = json.loads(beside.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise BadData(f"{beside} cannot be read: {problem}") from problem
        if not isinstance(info, dict) or set(info) - set(INFO_KEYS):
            raise BadData(f"{beside}: expected an object with some of {', '.join(INFO_KEYS)}.")
    town = _made_by_worlds(path)
    info.setdefault("training_data", town or f"{kind}: {path.name}")
    if town:
        info.setdefault("licence", RENDERED_LICENCE)
    return {**info, "synthetic": bool(info.get("synthetic") or town or kind == "town")}


def _made_by_worlds(path: Path) -> str:
    """What ``crossview.worlds.pairs`` notes beside the pairs that it renders; else nothing."""
    try:
        return path.with_suffix(".made-by.txt").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
