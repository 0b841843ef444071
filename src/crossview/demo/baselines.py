"""Two baselines that a trained model must clearly beat.

One knows only colours. The other is the same network with random weights: what its architecture
is worth without training. An ONNX file is a protocol-buffers message. Weights are replaced in
place, byte for byte, so a few field numbers are enough and no ONNX library is needed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crossview.arrays import F32, U8
from crossview.errors import BadModel
from crossview.files import atomic_write
from crossview.model import INFO_NAME, ModelInfo, encode_info, find_networks, read_info

LEVELS = 6  # per colour channel

# Field numbers of onnx.proto3, as far as they are needed.
_GRAPH, _INITIALIZER = 7, 5  # of ModelProto, of GraphProto
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9  # of TensorProto
_VARINT, _EIGHT_BYTES, _LENGTH_DELIMITED, _FOUR_BYTES = 0, 1, 2, 5  # wire types
_WEIGHT_TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 10: np.dtype("<f2")}
_FEWEST_WEIGHTS = 16  # values; smaller tensors are constants, such as the mean colour

ByteSpan = tuple[int, int]


class HistogramEmbedder:
    """Square roots of colour shares [B, LEVELS^3]: their dot product is the Bhattacharyya overlap.

    Implements :class:`crossview.model.Embedder` on the views of another model.
    """

    def __init__(self, info: ModelInfo) -> None:
        self.info = replace(info, name="colour-histogram", dim=LEVELS**3, azimuth_bins=1)
        self.fingerprint = hashlib.sha256(encode_info(self.info)).hexdigest()

    def ground(self, images: U8) -> F32:
        """Histograms of the pixels that the photo covers."""
        unseen = np.array(self.info.ground.mean_colour, np.uint8)
        return np.stack(
            [_compute_histogram(image[(image != unseen).any(axis=2)]) for image in images]
        )

    def aerial(self, images: U8) -> F32:
        """Histograms of whole windows."""
        return np.stack([_compute_histogram(image.reshape(-1, 3)) for image in images])


def _compute_histogram(pixels: U8) -> F32:
    level = pixels.astype(np.int64) * LEVELS // 256
    cell = (level[:, 0] * LEVELS + level[:, 1]) * LEVELS + level[:, 2]
    counts = np.bincount(cell, minlength=LEVELS**3).astype(np.float32)
    shares: F32 = np.sqrt(counts / max(1.0, float(counts.sum())))
    return shares


def randomize_weights(folder: Path, out: Path, seed: int = 0) -> Path:
    """Write a copy of a model folder as it would start: He-normal weights, biases zero."""
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.Generator(np.random.PCG64(seed))
    for path in dict.fromkeys(find_networks(folder)):
        atomic_write(out / path.name, _randomize_network(path.read_bytes(), rng, str(path)))
    info = replace(read_info(folder), name="random-network", notes="initialisers redrawn")
    atomic_write(out / INFO_NAME, encode_info(info))
    return out


def _randomize_network(data: bytes, rng: np.random.Generator, name: str) -> bytes:
    random = bytearray(data)
    count = 0
    for graph in _find_fields(data, (0, len(data)), _GRAPH):
        for tensor in _find_fields(data, graph, _INITIALIZER):
            count += _randomize_tensor(random, data, tensor, rng)
    if not count:
        raise BadModel(f"{name} holds no weights that could be randomized.")
    return bytes(random)


def _randomize_tensor(
    random: bytearray, data: bytes, tensor: ByteSpan, rng: np.random.Generator
) -> bool:
    kind = next(iter(_read_numbers(data, tensor, _DATA_TYPE)), 0)
    raw = next(iter(_find_fields(data, tensor, _RAW_DATA)), None)
    shape = _read_shape(data, tensor)
    if kind not in _WEIGHT_TYPES or raw is None or math.prod(shape) < _FEWEST_WEIGHTS:
        return False
    if len(shape) > 1:
        values = rng.normal(0.0, math.sqrt(2.0 / math.prod(shape[1:])), math.prod(shape))
    else:  # as a network starts: scales and variances one, biases and means zero
        name = next((data[at:end] for at, end in _find_fields(data, tensor, _NAME)), b"")
        values = np.full(shape, 1.0 if name.endswith((b"weight", b"var")) else 0.0)
    random[raw[0] : raw[1]] = values.astype(_WEIGHT_TYPES[kind]).tobytes()
    return True


def _read_shape(data: bytes, tensor: ByteSpan) -> list[int]:
    """Dimensions, whether packed or one by one."""
    packed = [
        _read_varint(data, at)
        for span in _find_fields(data, tensor, _DIMS)
        for at in _find_starts(data, span)
    ]
    return [value for value, _ in packed] or list(_read_numbers(data, tensor, _DIMS))


def _find_starts(data: bytes, span: ByteSpan) -> Iterator[int]:
    at, end = span
    while at < end:
        yield at
        at = _read_varint(data, at)[1]


def _walk_fields(data: bytes, span: ByteSpan) -> Iterator[tuple[int, int, ByteSpan]]:
    """(field number, wire type, where its value lies) of a message's fields."""
    at, end = span
    while at < end:
        key, at = _read_varint(data, at)
        wire = key & 7
        if wire == _LENGTH_DELIMITED:
            size, at = _read_varint(data, at)
            stop = at + size
        elif wire == _VARINT:
            stop = _read_varint(data, at)[1]
        else:
            stop = at + {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}[wire]
        yield key >> 3, wire, (at, stop)
        at = stop


def _find_fields(data: bytes, span: ByteSpan, number: int) -> Iterator[ByteSpan]:
    return (
        at
        for field, wire, at in _walk_fields(data, span)
        if (field, wire) == (number, _LENGTH_DELIMITED)
    )


def _read_numbers(data: bytes, span: ByteSpan, number: int) -> Iterator[int]:
    for field, wire, at in _walk_fields(data, span):
        if (field, wire) == (number, _VARINT):
            yield _read_varint(data, at[0])[0]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A base-128 number and where the next field begins."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
