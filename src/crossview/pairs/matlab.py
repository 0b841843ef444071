"""MATLAB files of lists (version 5, as scipy reads them): texts, numbers, 1-based index sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossview.errors import BadData

Mat = Mapping[str, Any]


def read_matlab(path: Path, names: Sequence[str]) -> Mat:
    """The variables of a .mat file; BadData if it is none, or lacks one of ``names``."""
    try:
        from scipy.io import loadmat
    except ImportError as problem:
        raise BadData(
            f"{path} needs one more package to be read: pip install 'crossview[data]'"
        ) from problem
    try:
        mat: Mat = loadmat(str(path))
    except FileNotFoundError as problem:
        raise BadData(f"No list at {path}, where the official layout has it.") from problem
    except NotImplementedError as problem:  # version 7.3, which is HDF5
        raise BadData(f"{path} is a MATLAB file of version 7.3; expected 5 to 7.") from problem
    except Exception as problem:  # scipy raises whatever damaged bytes lead to
        raise BadData(f"{path} is no MATLAB file, or a damaged one: {problem}") from problem
    if missing := [name for name in names if name not in mat]:
        held = ", ".join(name for name in mat if not name.startswith("__"))
        raise BadData(
            f"{path} is a MATLAB file of another kind: {', '.join(missing)} missing; it has {held}."
        )
    return mat


def texts(path: Path, mat: Mat, name: str) -> list[str]:
    """A character matrix, or a cell array of texts, as a list."""
    cells = np.asarray(mat[name]).ravel()
    found = [str(np.asarray(cell).ravel()[0]) if np.size(cell) else "" for cell in cells]
    found = [text.strip() for text in found]
    if not found or not all(found):
        raise BadData(f"{path}: {name} should hold a text in every row.")
    return found


def indices(path: Path, mat: Mat, name: str, field: str, count: int) -> list[int]:
    """The 1-based numbers of ``name.field`` as rows from 0, all below ``count``."""
    try:
        inner = np.asarray(mat[name])[field].ravel()[0]
        numbers = np.asarray(inner, dtype=np.float64).ravel()
    except (IndexError, KeyError, ValueError, TypeError) as problem:
        raise BadData(
            f"{path} is a MATLAB file of another kind: it has no {name}.{field}."
        ) from problem
    if not len(numbers):
        raise BadData(f"{path}: {name}.{field} is empty; an empty split cannot be used.")
    wrong = (numbers != np.round(numbers)) | (numbers < 1) | (numbers > count)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise BadData(
            f"{path}, {name}.{field}, row {row + 1}: {numbers[row]:g} is no row from 1 to {count}."
        )
    return [int(n) - 1 for n in numbers]
