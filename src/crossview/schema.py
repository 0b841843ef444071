"""Reading what others may have written: JSON, checked against the types of a record, and arrays.

Both are bounded. A record is a frozen dataclass. Its annotations are the schema: types, ranges
(``annotated_types``), allowed words (``Literal``), lengths of tuples. pydantic compares; it is
imported when the first record is read.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Gt, Interval, MaxLen, Predicate

MOST_BYTES = 64_000_000  # of a JSON file; a manifest has 500 bytes per segment
MOST_ARRAY_BYTES = 16_000_000_000  # of all arrays of a file, unpacked
_HEX = re.compile(r"[0-9a-f]{64}")

Positive = Annotated[float, Gt(0.0)]  # also finite, as all numbers of a record
NotNegative = Annotated[float, Ge(0.0)]
Share = Annotated[float, Interval(ge=0.0, le=1.0)]
Count = Annotated[int, Interval(ge=0, le=2**53)]
AtLeastOne = Annotated[int, Interval(ge=1, le=2**53)]
Text = Annotated[str, MaxLen(1_000_000)]
Sentence = Annotated[str, MaxLen(1000)]


def _is_sha256(text: str) -> bool:
    return _HEX.fullmatch(text) is not None


Sha256 = Annotated[str, Predicate(_is_sha256)]
Record = TypeVar("Record")


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a small file; ValueError for a larger one, OSError as the system gives it."""
    if path.exists() and not path.is_file():
        raise ValueError("not an ordinary file")
    with path.open("rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise ValueError(f"more than {most} bytes")
    return data


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds; ValueError for anything else, OSError as given."""
    return parse_object(read_bytes(path))


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a ``.npz`` by name, nothing unpickled.

    ValueError for anything else and for arrays that are larger together than
    :data:`MOST_ARRAY_BYTES`, OSError as the system gives it.
    """
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_ARRAY_BYTES:
            raise ValueError(f"arrays of {size} bytes")
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        for name, values in arrays.items():
            _require_array(name, values)
        return arrays
    except OSError:
        raise
    except Exception as problem:  # numpy and zipfile raise whatever damaged bytes lead to
        reason = (str(problem).splitlines() or [""])[0][:200]
        raise ValueError(reason or type(problem).__name__) from problem


def _require_array(name: str, values: Any) -> None:
    """ValueError for what is none, which numpy gives as bytes, and for texts of no signs."""
    import numpy as np

    if not isinstance(values, np.ndarray):
        raise ValueError(f"{name} is no array")
    if values.dtype.kind == "U" and values.size:
        code = np.dtype(np.uint32).newbyteorder(values.dtype.byteorder)
        if int(np.ascontiguousarray(values).view(code).max()) > sys.maxunicode:
            raise ValueError(f"{name} holds texts of signs that there are not")


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object; ValueError for anything else, however deep or long it is."""
    try:
        values = json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    return values


def compute_checksum(values: Mapping[str, Any]) -> str:
    """The sha256 of JSON values, however they are laid out in a file."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def check(kind: type[Record], values: object) -> Record:
    """``values`` (of JSON) as a record; ValueError says which of them cannot be.

    Nothing is converted: 1.0 is no whole number, "1" no number, NaN is refused, unknown names too.
    """
    from pydantic import ValidationError

    record: Any = kind
    try:
        made: tuple[Record] = _adapter(record).validate_json(json.dumps([values]))
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(step) for step in first["loc"][1:]) or "it"
        raise ValueError(f"{where}: {first['msg']}, got {str(first['input'])[:60]!r}") from None
    except (RecursionError, TypeError) as problem:
        raise ValueError(f"not the JSON of a record: {problem}") from None
    return made[0]


def check_known(kind: type[Record], values: Mapping[str, Any]) -> Record:
    """As :func:`check` of those values alone that the record has; others may be newer, or older."""
    record: Any = kind
    return check(kind, {f.name: values[f.name] for f in fields(record) if f.name in values})


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    # Of a tuple, because plain dataclasses take the settings of what holds them and no others.
    settings = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return TypeAdapter(tuple[kind], config=settings)
