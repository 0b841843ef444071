"""Networks in ONNX files: read whole, and refused where the file is not all of the network.

An ONNX file may leave its tensors in other files (``external_data``) and name these by any path.
Such tensors would be read from wherever the path leads, and a fingerprint of the file would not
change with them. Neither onnxruntime nor protobuf has an option not to follow it, so the file's
fields are walked before onnxruntime sees it. That needs no ``onnx`` package: of the wire format of
protocol buffers, lengths are enough.
"""

from __future__ import annotations

from pathlib import Path

from crossview.errors import BadModel
from crossview.files import printable

LARGEST_BYTES = 2**31 - 1  # more than that no protocol buffer may have
_MOST_FIELDS = 5_000_000  # of one file: a large network has some 100,000
_DEEPEST = 100  # as protocol buffers themselves
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a TensorProto

# By message the fields that lead to tensors (onnx.proto3); a test compares with the package onnx.
FIELDS: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}


def read_network(path: Path) -> bytes:
    """The bytes of an ONNX file that holds all of its tensors; :class:`BadModel` for any other."""
    try:
        if not path.is_file():
            raise BadModel(f"{path} is not an ordinary file, so not a network.")
        if (size := path.stat().st_size) > LARGEST_BYTES:
            raise BadModel(f"{path} has {size} bytes; a network in one file has at most 2 GiB.")
        data = path.read_bytes()
    except OSError as problem:
        raise BadModel(f"{path} cannot be read: {problem.strerror}.") from problem
    require_whole(data, str(path))
    return data


def require_whole(data: bytes, name: str) -> None:
    """Raise :class:`BadModel` unless ``data`` is an ONNX model with all its tensors inside."""
    try:
        place = _find_external(data)
    except ValueError as problem:
        raise BadModel(f"{name} is not a network in ONNX format, or damaged: {problem}.") from None
    if place is not None:
        where = f" ({printable(place)[:100]})" if place else ""
        raise BadModel(
            f"{name} leaves tensors in other files{where}, which its fingerprint does not cover.\n"
            "Write the network with its weights inside: crossview export does, and onnx.save with "
            "save_as_external_data=False."
        )


def _find_external(data: bytes) -> str | None:
    """The file that a tensor is left in ("" if it does not say); None: all are inside."""
    messages = [(0, len(data), "ModelProto", 0)]
    budget = _MOST_FIELDS
    while messages:
        at, end, kind, depth = messages.pop()
        inner = FIELDS[kind]
        while at < end:
            budget -= 1
            if budget < 0 or depth > _DEEPEST:
                raise ValueError("it has more fields, or deeper ones, than any network")
            tag, at = _read_varint(data, at, end)
            field, wire = tag >> 3, tag & 7
            if not 0 < field < 2**29:
                raise ValueError(f"field {field} cannot be")
            start, at, value = _read_field(data, at, end, wire)
            if kind == "TensorProto" and field == _EXTERNAL_DATA:
                return _read_location(data, start, at) if wire == _BYTES else ""
            if kind == "TensorProto" and field == _DATA_LOCATION and (value or wire != _VARINT):
                return ""
            if wire == _BYTES and field in inner:
                messages.append((start, at, inner[field], depth + 1))
    return None


def _read_field(data: bytes, at: int, end: int, wire: int) -> tuple[int, int, int]:
    """Where a field's content begins and ends; its value, if it is a varint."""
    value, length = 0, 0
    if wire == _VARINT:
        start = at
        value, at = _read_varint(data, at, end)
        return start, at, value
    if wire == _BYTES:
        length, at = _read_varint(data, at, end)
    elif wire in {_FIXED32, _FIXED64}:
        length = 4 if wire == _FIXED32 else 8
    else:
        raise ValueError(f"it has a field of wire type {wire}")
    if length > end - at:
        raise ValueError("it ends in the middle of a field")
    return at, at + length, value


def _read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("it ends in the middle of a field")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it has a number of more than ten bytes")


def _read_location(data: bytes, at: int, end: int) -> str:
    """The value of a StringStringEntryProto if its key is ``location``; else ""."""
    texts: dict[int, bytes] = {}
    try:
        while at < end:
            tag, at = _read_varint(data, at, end)
            start, at, _ = _read_field(data, at, end, tag & 7)
            texts[tag >> 3] = data[start:at]
    except ValueError:
        return ""
    return texts.get(2, b"").decode("utf-8", "replace") if texts.get(1) == b"location" else ""
