"""Official lists and folders as tables, or an error that names the list and the row.

Lists are text or MATLAB files (version 5, as scipy reads them): texts, numbers, 1-based indices.
"""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossview.arrays import F64, I64, AnyArray
from crossview.errors import BadData
from crossview.files import is_system_file
from crossview.lists import LATITUDE_DEG, LONGITUDE_DEG, number, read_cells
from crossview.pairs.table import PairTable

HELP = "To see all that is there and all that is missing: crossview data check NAME --root DIR"
Mat = Mapping[str, AnyArray]
_MATLAB_S, _MATLAB_BYTES = 120.0, 4 << 30  # that reading a .mat file may take
_TOO_NEW = 3


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many pictures and matches a split officially has; 0: not stated by its authors."""

    ground: int
    aerial: int
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """A list or folder that a data set consists of."""

    path: str  # below the root; alternatives of other published layouts after " or "
    holds: str
    files: int = 0  # official number of files in a folder; 0: a list, or not stated
    needed: bool = True


def compare_counts(
    tables: Mapping[str, PairTable], official: Mapping[str, Counts]
) -> Iterator[str]:
    """A sentence for each split whose numbers are not the official ones."""
    for split, counts in official.items():
        if split not in tables:
            continue
        table = tables[split]
        numbers = {
            "ground pictures": (len(table.ground), counts.ground),
            "aerial pictures": (len(table.aerial), counts.aerial),
            "matches": (len(table), counts.pairs),
        }
        wrong = {what: both for what, both in numbers.items() if both[1] and both[0] != both[1]}
        if wrong:
            there = ", ".join(f"{held:,} {what}" for what, (held, _) in wrong.items())
            expected = ", ".join(f"{number:,}" for _, number in wrong.values())
            yield f"split {split} has {there}; officially {expected}"


def read_list(path: Path, columns: int, separator: str | None = ",") -> list[tuple[str, list[str]]]:
    """The rows of a list without a header, each with the words "FILE, line N".

    Cells as :func:`crossview.lists.read_cells` parts them. BadData: no such list, an empty one, a
    row with another number of columns.
    """
    if not path.exists():
        raise BadData(f"No list at {path}, where the official layout has it.\n{HELP}")
    rows = []
    for line, cells in read_cells(path, separator):
        if len(cells) != columns:
            raise BadData(f"{path}, line {line}: {len(cells)} columns; expected {columns}.")
        rows.append((f"{path}, line {line}", cells))
    if not rows:
        raise BadData(f"{path} is empty; an empty split cannot be used.")
    return rows


def number_names(names: Iterable[tuple[str, str]], what: str) -> dict[str, int]:
    """Names to positions; ``names`` come as (where, name). BadData if one comes twice."""
    seen: dict[str, int] = {}
    first: dict[str, str] = {}
    for position, (where, name) in enumerate(names):
        if name in seen:
            raise BadData(f"{where}: {what} {name} is there twice, first at {first[name]}.")
        seen[name], first[name] = position, where
    return seen


def parse_place(lat: str, lon: str, where: str) -> tuple[float, float]:
    """Latitude and longitude in degrees; BadData if out of range or no numbers."""
    for name, text in (("latitude", lat), ("longitude", lon)):
        if not text:
            raise BadData(f"{where}: the {name} is empty.")
    return (
        number("latitude", lat, LATITUDE_DEG, where),
        number("longitude", lon, LONGITUDE_DEG, where),
    )


def require_files(files: Sequence[tuple[str, Path]]) -> None:
    """BadData unless all files, given with where they are named, are there.

    Folders are listed once each, so that 100,000 files cost a second.
    """
    there = {folder: list_names(folder) for folder in {path.parent for _, path in files}}
    absent = [(where, path) for where, path in files if path.name not in there[path.parent]]
    if absent:
        where, path = absent[0]
        others = f", and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise BadData(
            f"{where}: {path} is named but is not there{others} (of {len(files)} files).\n{HELP}"
        )


def list_data(folder: Path) -> set[str]:
    """Names in a folder without those of the system; none if there is no such folder."""
    return {name for name in list_names(folder) if not is_system_file(name)}


def list_names(folder: Path) -> set[str]:
    """All names in a folder; none if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except OSError:
        return set()


def make_table(
    ground: Sequence[Path], aerial: Sequence[Path], pairs: Any, **facts: Any
) -> PairTable:
    """A PairTable of which only some things are ``facts``: the rest is unknown, up is north.

    ``heading_deg`` and ``perspective`` may be one value for all ground pictures.
    """
    g, a = len(ground), len(aerial)
    shapes: dict[str, tuple[int, ...]] = {"ground_latlon": (g, 2), "aerial_latlon": (a, 2)}
    shapes |= {"metres_per_px": (a,), "heading_deg": (g,), "fov_deg": (g,), "up_bearing_deg": (a,)}
    values: dict[str, Any] = {"up_bearing_deg": 0.0, **facts}
    for name, shape in shapes.items():
        numbers = np.asarray(values.get(name, np.nan), dtype=np.float64)
        values[name] = np.broadcast_to(numbers, shape).copy()
    photo = np.broadcast_to(np.asarray(values.get("perspective", False), dtype=bool), (g,)).copy()
    values["perspective"] = photo
    values["ignored"] = _to_relation(values.get("ignored", ()))
    return PairTable(
        ground=tuple(ground), aerial=tuple(aerial), pairs=_to_relation(pairs), **values
    )


def _to_relation(pairs: Any) -> I64:
    return np.asarray(pairs, dtype=np.int64).reshape(-1, 2)


def read_matlab(path: Path, names: Sequence[str]) -> Mat:
    """The variables of a .mat file; BadData if it is none, or lacks one of ``names``.

    Numbers and texts are arrays; a field of a struct is called ``struct.field``. The library ends
    its process over some damaged files, so it reads in a process of its own.
    """
    if importlib.util.find_spec("scipy") is None:
        raise BadData(f"{path} needs one more package to be read: pip install 'crossview[data]'")
    if not path.is_file():
        raise BadData(f"No list at {path}, where the official layout has it.")
    try:
        status, printed = read_apart(path)
        mat = _open_printed(printed) if status == 0 else {}
        why = printed.decode("utf-8", "replace").strip() or f"its reader ended with {status}"
    except (OSError, ValueError, subprocess.TimeoutExpired) as problem:
        status, why = 1, str(problem)
    if status == _TOO_NEW:  # HDF5
        raise BadData(f"{path} is a MATLAB file of version 7.3; expected 5 to 7.")
    if status:
        raise BadData(f"{path} is not a MATLAB file, or a damaged one: {why[:200]}")
    if missing := [name for name in names if name not in mat]:
        held = ", ".join(name for name in mat if "." not in name)
        raise BadData(
            f"{path} is a MATLAB file of another kind: {', '.join(missing)} missing; it has {held}."
        )
    return mat


def read_apart(path: Path) -> tuple[int, bytes]:
    """:func:`print_matlab` in another process: its exit status, and what it wrote.

    OSError or TimeoutExpired where there is no answer.
    """
    program = (
        f"import sys; from {__name__} import print_matlab; sys.exit(print_matlab(sys.argv[1]))"
    )
    places = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603 - this interpreter, and a path that no shell sees
        [sys.executable, "-c", program, str(path.absolute())],
        env=os.environ | places,
        capture_output=True,
        timeout=_MATLAB_S,
        check=False,
    )
    return done.returncode, done.stdout


def print_matlab(path: str) -> int:
    """Write the variables of a .mat file to stdout as a .npz, or why not; the exit status."""
    with suppress(ImportError, ValueError, OSError):
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_AS, (_MATLAB_BYTES, _MATLAB_BYTES))
    from scipy.io import loadmat

    status, output = 0, io.BytesIO()
    try:
        plain: dict[str, AnyArray] = {}
        for name, value in loadmat(path).items():
            if not name.startswith("__"):
                plain |= _flatten_variable(name, np.asarray(value))
        np.savez(output, **plain)  # type: ignore[arg-type]
    except NotImplementedError:
        status = _TOO_NEW
    except Exception as problem:  # scipy raises whatever damaged bytes lead to
        status, output = 1, io.BytesIO(str(problem).encode("utf-8", "replace"))
    sys.stdout.buffer.write(output.getvalue())
    sys.stdout.buffer.flush()
    return status


def _flatten_variable(name: str, value: AnyArray) -> dict[str, AnyArray]:
    """Arrays of numbers and texts by name: a struct's fields, a cell array's texts."""
    if value.dtype.names:
        fields = {f"{name}.{field}": value[field] for field in value.dtype.names}
        held = {key: np.asarray(cells.ravel()[0]) for key, cells in fields.items() if cells.size}
        return {name: np.zeros(0)} | {k: v for k, v in held.items() if v.dtype.kind in "fiub"}
    if value.dtype.kind == "O":
        cells = [np.asarray(cell).ravel() for cell in value.ravel()]
        return {name: np.array([str(cell[0]) if cell.size else "" for cell in cells], np.str_)}
    return {name: value}


def _open_printed(printed: bytes) -> dict[str, AnyArray]:
    try:
        with np.load(io.BytesIO(printed), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as problem:
        raise ValueError(f"its reader printed nothing that can be read ({problem})") from problem


def read_texts(path: Path, mat: Mat, name: str) -> list[str]:
    """A character matrix, or a cell array of texts, as a list."""
    texts = [str(text).strip() for text in np.asarray(mat[name]).ravel()]
    if not texts or not all(texts):
        raise BadData(f"{path}: {name} should hold a text in every row.")
    return texts


def read_numbers(path: Path, mat: Mat, name: str) -> F64:
    """An array of numbers."""
    try:
        return np.asarray(mat[name], dtype=np.float64)
    except (ValueError, TypeError) as problem:
        raise BadData(f"{path}: {name} should hold numbers.") from problem


def read_indices(path: Path, mat: Mat, name: str, field: str, count: int) -> list[int]:
    """The 1-based numbers of ``name.field`` as rows from 0, all below ``count``."""
    try:
        numbers = np.asarray(mat[f"{name}.{field}"], dtype=np.float64).ravel()
    except (KeyError, ValueError, TypeError) as problem:
        raise BadData(
            f"{path} is a MATLAB file of another kind: it has no {name}.{field}."
        ) from problem
    if not len(numbers):
        raise BadData(f"{path}: {name}.{field} is empty; an empty split cannot be used.")
    wrong = (numbers != np.round(numbers)) | (numbers < 1) | (numbers > count)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise BadData(
            f"{path}, {name}.{field}, row {row + 1}: {numbers[row]:g} is not a row from 1 to "
            f"{count}."
        )
    return [int(n) - 1 for n in numbers]
