"""Names to objects: the only module that knows every method and every data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossview.errors import BadData, InvalidValue, UnknownName
from crossview.pairs.listing import Counts, Part, differences
from crossview.pairs.pages import PageRef
from crossview.pairs.rows import PARQUET

if TYPE_CHECKING:
    from crossview.evaluation.task import Rules
    from crossview.pairs.table import PairTable

METHODS = {
    "compass": "crossview.methods.compass",
    "congeo": "crossview.methods.congeo",
    "geodtr": "crossview.methods.geodtr",
    "geodtr-plus": "crossview.methods.geodtr_plus",
    "safa": "crossview.methods.safa",
    "sample4geo": "crossview.methods.sample4geo",
    "singeo": "crossview.methods.singeo",
}
BENCHMARKS: dict[str, tuple[str, dict[str, Any]]] = {  # name: page, what load is told
    "cvusa": ("crossview.datasets.cvusa", {}),
    "cvusa-cleaned": ("crossview.datasets.cvusa", {"cleaned": True}),
    "cvact": ("crossview.datasets.cvact", {}),
    "vigor-same": ("crossview.datasets.vigor", {"area": "same"}),
    "vigor-cross": ("crossview.datasets.vigor", {"area": "cross"}),
    "vigor-same-corrected": ("crossview.datasets.vigor", {"area": "same", "corrected": True}),
    "vigor-cross-corrected": ("crossview.datasets.vigor", {"area": "cross", "corrected": True}),
    **{
        f"university-1652{name}": (
            "crossview.datasets.university",
            {"query": query, "reference": reference},
        )
        for name, query, reference in (
            ("", "drone", "satellite"),
            ("-satellite-to-drone", "satellite", "drone"),
            ("-street-to-satellite", "street", "satellite"),
            ("-satellite-to-street", "satellite", "street"),
            ("-street-to-drone", "street", "drone"),
            ("-drone-to-street", "drone", "street"),
        )
    },
}
DATASETS = ("pairs", "town", *BENCHMARKS)
TABLES = (".csv", *PARQUET)
RENDERED_LICENCE = "Apache-2.0, like crossview: every picture was rendered by it"
_SYNTHETIC_SHARE = 0.5  # of rendered pictures, from which on a data set counts as no Earth
INFO_KEYS = ("synthetic", "training_data", "licence", "notes")


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set by name: its tables, and what is known of it."""

    name: str  # as given
    tables: Mapping[str, PairTable]  # by split
    info: Mapping[str, Any]  # INFO_KEYS: carried into the exported model
    differs: tuple[str, ...] = ()  # where its numbers are not the official ones

    def table(self, split: str) -> PairTable:
        """The table of a split; BadData that names those there are."""
        if split not in self.tables:
            raise BadData(
                f"{self.name} has no split {split!r}; it has {', '.join(self.tables)}.\n"
                "Choose one with --split."
            )
        return self.tables[split]


def recipes(method: str) -> dict[str, dict[str, Any]]:
    """Named full-size settings of a method, such as those published for a data set."""
    file = Path(__file__).parent / "methods" / "recipes" / f"{method}.json"
    known: dict[str, dict[str, Any]] = {}
    if method in METHODS and file.is_file():
        known = json.loads(file.read_text(encoding="utf-8"))
    return known


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


@dataclass(frozen=True)
class Benchmark:
    """An official data set: its page, and what the page is told for this name."""

    name: str
    page: Any
    options: Mapping[str, Any]

    def load(self, root: Path, *, check_files: bool = True) -> dict[str, PairTable]:
        """The tables by split."""
        tables: dict[str, PairTable] = self.page.load(root, check_files=check_files, **self.options)
        return tables

    def counts(self) -> dict[str, Counts]:
        """The official numbers by split."""
        official: dict[str, Counts] = self.page.counts(**self.options)
        return official

    def layout(self, root: Path) -> list[Part]:
        """The lists and folders that it consists of."""
        parts: list[Part] = self.page.layout(root, **self.options)
        return parts


def benchmark(name: str) -> Benchmark:
    """An official data set by name."""
    if name not in BENCHMARKS:
        raise UnknownName("data set", name, BENCHMARKS)
    module, options = BENCHMARKS[name]
    return Benchmark(name, PageRef(module).load(), options)


def open_data(name: str, *, check_files: bool = True) -> Data:
    """``NAME:ROOT`` of a benchmark, ``pairs:FILE`` (or just ``FILE.csv``), ``town[:FOLDER]``.

    Every picture that a benchmark's lists name must be there, unless ``check_files`` is False. A
    file ``pairs.json`` beside a table of pairs may say what the pictures are: ``training_data`` and
    ``licence`` (sentences), ``synthetic`` (true for pictures that are not of Earth), ``notes``.
    """
    kind, _, root = name.partition(":")
    if kind not in DATASETS and name.lower().endswith(TABLES):
        kind, root = "pairs", name
    if kind not in DATASETS:
        raise UnknownName("data set", kind, DATASETS)
    if kind != "town" and not root:
        where = "path/to/pairs.csv" if kind == "pairs" else "path/to/its/folder"
        raise InvalidValue(f"Data {kind!r} needs a place, as in --data {kind}:{where}")
    path = Path(root).expanduser()
    if kind in BENCHMARKS:
        return _benchmark_data(name, benchmark(kind), path, check_files)
    from crossview.datasets import pairs

    if kind == "town":
        from crossview.worlds.pairs import ensure_pairs

        path = ensure_pairs(Path(root or "town-data").expanduser())
    elif path.is_dir():
        path = path / "pairs.csv"
    tables = pairs.load(path)
    return Data(name=name, tables=tables, info=_with_marks(_info(path, kind), tables))


def _benchmark_data(name: str, official: Benchmark, root: Path, check_files: bool) -> Data:
    if not root.is_dir():
        raise BadData(
            f"No folder {root} with {official.name}.\n"
            "How to get it and what it should look like: docs/datasets.md"
        )
    tables = official.load(root, check_files=check_files)
    info = {
        "training_data": official.name,
        "licence": f"pictures: {official.page.LICENCE}",
        "synthetic": False,
    }
    differs = tuple(differences(tables, official.counts()))
    return Data(name=name, tables=tables, info=_with_marks(info, tables), differs=differs)


def rules(data: str) -> Rules:
    """How a data set counts: VIGOR's near-misses as wrong, University-1652 with its precision."""
    from crossview.evaluation.task import Rules

    kind = data.partition(":")[0]
    return Rules(
        near_counts=kind.startswith("vigor"), average_precision=kind.startswith("university")
    )


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
    from crossview.worlds.pairs import made_by

    beside = path.with_suffix(".json")
    info: dict[str, Any] = {}
    if beside.is_file():
        try:
            info = json.loads(beside.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise BadData(f"{beside} cannot be read: {problem}") from problem
        if not isinstance(info, dict) or set(info) - set(INFO_KEYS):
            raise BadData(f"{beside}: expected an object with some of {', '.join(INFO_KEYS)}.")
    town = made_by(path)
    info.setdefault("training_data", town or f"{kind}: {path.name}")
    if town:
        info.setdefault("licence", RENDERED_LICENCE)
    return {**info, "synthetic": bool(info.get("synthetic") or town or kind == "town")}


def _with_marks(info: dict[str, Any], tables: Mapping[str, PairTable]) -> dict[str, Any]:
    """What is known of the pictures, and what they say of themselves: rendered ones are no Earth.

    Half of either side is enough: a model of half a town is no evidence either.
    """
    from crossview.worlds.pairs import synthetic_share

    sides = (
        [p for t in tables.values() for p in getattr(t, side)] for side in ("ground", "aerial")
    )
    share = max(map(synthetic_share, sides))
    if share == 0.0 or info["synthetic"]:
        return info
    said = f"pictures of a synthetic town among them: {share:.0%} of those looked at"
    notes = "; ".join(text for text in (info.get("notes", ""), said) if text)
    return {**info, "notes": notes, "synthetic": share >= _SYNTHETIC_SHARE}
