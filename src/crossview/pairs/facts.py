"""What a training takes from a table of pairs: by fact, as digests, and where two tables differ.

Names count from the data's own folder, so a data set that was moved or renamed is the same one.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossview.errors import BadData
from crossview.lists import name_key
from crossview.pairs.table import PairTable

TableFacts = Mapping[
    str, NDArray[Any]
]  # texts [N] or numbers [N] or [N, 2], by the name of the fact
OF_GROUND = ("ground_latlon", "heading_deg", "fov_deg", "perspective")
OF_AERIAL = ("aerial_latlon", "metres_per_px", "up_bearing_deg")
OF_ROWS = ("pairs", "offset_px")
_NAMES = ("ground", "aerial")
_NAMED_FACTS = 3  # facts that differ and are named


def collect_facts(table: PairTable) -> TableFacts:
    """All that a training takes from ``table`` beside the pictures' content."""
    facts: dict[str, NDArray[Any]] = {
        "ground": np.array([name_key(name) for name in table.ground_ids()], dtype=np.str_),
        "aerial": np.array([name_key(name) for name in table.aerial_ids()], dtype=np.str_),
        "queries": np.array([table.queries]),
        "ignored": table.ignored,
    }
    return facts | {name: getattr(table, name) for name in (*OF_GROUND, *OF_AERIAL, *OF_ROWS)}


def digest_facts(facts: TableFacts) -> dict[str, str]:
    """12 hex digits for each fact; the same numbers have the same on every machine."""
    return {
        name: hashlib.sha256(_encode(values)).hexdigest()[:12] for name, values in facts.items()
    }


def pack_facts(facts: Mapping[str, TableFacts]) -> bytes:
    """The facts of several splits as the content of a file, for :func:`read_facts`."""
    arrays = {
        f"{split}.{name}": np.frombuffer("\0".join(values).encode(), np.uint8)
        if values.dtype.kind == "U"
        else values
        for split, split_facts in facts.items()
        for name, values in split_facts.items()
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def read_facts(path: Path) -> dict[str, TableFacts]:
    """Facts by split, of a file that holds :func:`pack_facts`; BadData if it holds none."""
    facts: dict[str, dict[str, NDArray[Any]]] = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for key in arrays.files:
                split, _, name = key.partition(".")
                values = arrays[key]
                if values.dtype == np.uint8:
                    values = np.array(values.tobytes().decode().split("\0"), dtype=np.str_)
                facts.setdefault(split, {})[name] = values
    except Exception as problem:  # numpy and zipfile raise whatever damaged bytes lead to
        raise BadData(f"{path} cannot be read: {problem}.") from problem
    return dict(facts)


def describe_differences(then: TableFacts, now: TableFacts) -> str:
    """Which facts differ, in how many places, and the first of each; "" if none does."""
    differences = list(_list_differences(then, now))
    more = (
        f"; and {len(differences) - _NAMED_FACTS} facts more"
        if len(differences) > _NAMED_FACTS
        else ""
    )
    return "; ".join(differences[:_NAMED_FACTS]) + more


def digest_names(table: PairTable, root_name: str) -> str:
    """What run folders kept of a table before they kept facts: names of files, and the relation.

    ``root_name``: what the data's own folder was called then.
    """
    digest = hashlib.sha256()
    for path in (*table.ground, *table.aerial):
        folder = root_name if path.parent == table.root else path.parent.name
        digest.update(f"{folder}/{path.name}\n".encode())
    digest.update(table.pairs.tobytes() + table.ignored.tobytes())
    return digest.hexdigest()[:12]


def _list_differences(then: TableFacts, now: TableFacts) -> Iterator[str]:
    for name in (name for name in then if name in now):
        old, new = then[name], now[name]
        if _encode(old) == _encode(new):
            continue
        if name in _NAMES:
            yield _describe_names(name, old, new)
        elif old.shape != new.shape:
            yield f"{name}: {len(old):,} then, {len(new):,} now"
        elif name not in OF_GROUND + OF_AERIAL or len(then[_get_side(name)]) != len(old):
            changed = np.flatnonzero(_find_differing(old, new))
            yield f"{name} of {len(changed):,} of {len(old):,}, the first in row {changed[0] + 1}"
        else:
            changed = np.flatnonzero(_find_differing(old, new))
            first, side = changed[0], _get_side(name)
            before, after = _format_value(old[first]), _format_value(new[first])
            yield (
                f"{name} of {len(changed):,} of {len(old):,} {side} pictures, the first "
                f"{then[side][first]}: {before} then, {after} now"
            )


def _describe_names(side: str, old: NDArray[Any], new: NDArray[Any]) -> str:
    gone, come = (sorted(set(a) - set(b)) for a, b in ((old, new), (new, old)))
    if not gone and not come:
        return f"the order of the {side} pictures"
    counts = [
        f"{len(names):,} {what}, the first {names[0]}"
        for names, what in ((gone, "gone"), (come, "new"))
        if names
    ]
    return f"{side} pictures: {'; '.join(counts)}"


def _get_side(name: str) -> str:
    return "ground" if name in OF_GROUND else "aerial"


def _find_differing(old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.bool_]:
    """[N] whether the entries differ; unknown is unknown."""
    apart: NDArray[np.bool_] = old != new
    if old.dtype.kind == "f":
        apart &= ~(np.isnan(old) & np.isnan(new))
    rows: NDArray[np.bool_] = np.any(apart.reshape(len(old), -1), axis=1)
    return rows


def _format_value(value: Any) -> str:
    return ", ".join(f"{number:g}" for number in np.atleast_1d(value).astype(float))


def _encode(values: NDArray[Any]) -> bytes:
    """The same bytes for the same facts: one NaN, one zero, one order of bytes."""
    if values.dtype.kind == "U":
        return "\0".join(values.tolist()).encode()
    kind = {"f": "<f8", "i": "<i8", "b": "|b1"}[values.dtype.kind]
    plain = values.astype(kind)
    if kind == "<f8":
        plain = np.where(np.isnan(plain), np.nan, plain) + 0.0
    return repr(values.shape).encode() + plain.tobytes()
