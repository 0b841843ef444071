"""Models as files: an ONNX network, what travels beside it (ModelInfo), and both opened (Model).

A model is named by the packaged one's name, by a folder that ``crossview export`` made, or by
``hub:OWNER/NAME[@REVISION]`` (:mod:`crossview.hub`). It runs without torch.

An ONNX file may leave its tensors in other files (``external_data``) and name these by any path.
Such tensors would be read from wherever the path leads, and a fingerprint of the file would not
change with them. Neither onnxruntime nor protobuf has an option not to follow it, so the file's
fields are walked before onnxruntime sees it. That needs no ``onnx`` package: of the wire format of
protocol buffers, lengths are enough.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from annotated_types import Interval

from crossview.arrays import F32, U8, Bool
from crossview.errors import BadModel, InvalidValue, UnknownName, UsageError
from crossview.files import identity, printable
from crossview.hub import (
    NOT_STATED,
    HubName,
    Pulled,
    find_pulled,
    is_hub_name,
    parse_hub_name,
    pull,
)
from crossview.runtime import (
    CALIBRATED,
    OF_OFFSETS,
    YARDSTICK,
    Arithmetic,
    Drift,
    Network,
    Pair,
    Threads,
    digest_network,
    digest_setting,
    find_quantised,
    measure_drift,
    open_network,
    recall_drift,
    require_quantised,
    require_runtime,
    shorten_failure,
)
from crossview.schema import (
    AtLeastOne,
    NotNegative,
    Sentence,
    Text,
    check,
    parse_object,
    read_bytes,
)
from crossview.views.spec import ViewSpec, implies_all_rows

LOG = logging.getLogger("crossview.model")
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


INFO_NAME = "model.json"
SHARED_NAME = "model.onnx"
GROUND_NAME = "model.ground.onnx"
AERIAL_NAME = "model.aerial.onnx"
OFFSET_NAME = "model.offset.onnx"  # of a network that regresses where in a window a camera stands
TRAINING_NAME = "training.json"  # by which it can be trained further
MODEL_FILES = (SHARED_NAME, GROUND_NAME, AERIAL_NAME, OFFSET_NAME, TRAINING_NAME, INFO_NAME)
MOST_INFO_BYTES = 4_000_000
MOST_TRAINING_BYTES = 1_000_000
NOT_RECORDED = "not recorded"
MOST_DIM = 1_000_000
STATED = (
    *("training_data", "licence", "synthetic", "notes"),
    *("attributions", "caution", "limits", "coarsest_imagery_m"),
)
"""What a model was made from and is worth: a run may state it, and its exported model has it."""
_ADDED = ("equal_bins", "attributions", "caution", "limits", "coarsest_imagery_m")
"""Entries that earlier models did not have. They stand in ``model.json`` only where they differ
from their defaults, so that those models keep their fingerprints."""
FOV_SLACK = 1.1  # times as wide as what was seen, or as narrow: still counts as seen
PACKAGED_FOLDER = Path(str(files("crossview") / "packaged_models"))
OF_TOWNS = "town"  # knows the embedded world only
OF_EARTH = "earth"  # for imagery of Earth; a build may leave it out


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


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Facts about a trained network that index and locate rely on.

    ``azimuth_bins`` J: the vector is J blocks, block j describing azimuths from 360 j / J - 180
    degrees clockwise (the columns of :class:`ViewSpec`); an unknown heading is found by turning the
    query through all J. J = 1 is an ordinary vector compared by its dot product. ``equal_bins``:
    every block has the same length; the score over all blocks is then the plain inner product.

    ``caution`` continues "made with a model ..." and is a warning of every index and answer that
    the model makes: what it was trained on, and what its places are worth. No full stop.
    """

    name: Text
    ground: ViewSpec
    aerial: ViewSpec
    dim: Annotated[int, Interval(ge=1, le=MOST_DIM)]
    azimuth_bins: AtLeastOne = 1
    equal_bins: bool = False
    synthetic: bool = False  # trained on the embedded world, not on pictures of Earth
    headings_seen: str = "unknown"  # "unknown" or "aligned"
    fov_seen_deg: tuple[float, float] = (360.0, 360.0)
    training_data: Text = NOT_RECORDED
    licence: Text = NOT_RECORDED
    notes: Text = ""
    attributions: tuple[Text, ...] = ()  # of whose pictures it was trained on, in their words
    caution: Sentence = ""
    limits: Text = ""  # what it cannot do, in sentences
    coarsest_imagery_m: NotNegative = 0.0  # per pixel, of what it was trained on; 0: not recorded

    def covers(self, fov_deg: float) -> bool:
        """Whether a picture is as wide as those seen in training (:func:`as_wide_as`)."""
        return as_wide_as(fov_deg, self.fov_seen_deg)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        sides = {"ground": self.ground.facts(), "aerial": self.aerial.facts()}
        values = {**asdict(self), **sides}
        for entry in fields(ModelInfo):
            if entry.name in _ADDED and values[entry.name] == entry.default:
                del values[entry.name]
        return values

    @staticmethod
    def from_json(values: dict[str, Any]) -> ModelInfo:
        """The inverse of :meth:`to_json`; unknown or missing entries are refused."""
        if unknown := sorted(set(values) - {f.name for f in fields(ModelInfo)}):
            raise BadModel(f"model.json has unknown entries {unknown}.")
        try:
            views = {side: read_view(values[side]) for side in ("ground", "aerial")}
            check(ModelInfo, {**values, **{side: asdict(view) for side, view in views.items()}})
            # The numbers as they are written: 90 and 90.0 have different fingerprints.
            seen = tuple(values.get("fov_seen_deg", (360.0, 360.0)))
            owners = tuple(values.get("attributions", ()))
            tuples = {"fov_seen_deg": seen, "attributions": owners}
            info = ModelInfo(**{**values, **views, **tuples})
        except KeyError as problem:
            raise BadModel(f"model.json cannot be read: it has no {problem}.") from problem
        except ValueError as problem:
            raise BadModel(f"model.json cannot be read: {problem}.") from problem
        low, high = info.fov_seen_deg
        for fits, what in (
            (
                (info.ground.side, info.aerial.side) == ("ground", "aerial"),
                "its sides are mixed up",
            ),
            (info.dim % info.azimuth_bins == 0, "azimuth_bins does not divide dim"),
            (0.0 < low <= high <= 360.0, "fov_seen_deg is not (narrowest, widest) in (0, 360]"),
        ):
            if not fits:
                raise BadModel(f"model.json cannot be right: {what}.")
        return info


def read_view(values: dict[str, Any]) -> ViewSpec:
    """The inverse of ``ViewSpec.to_json``; unknown or missing entries are refused (BadModel)."""
    if not isinstance(values, dict):
        raise BadModel(f"a view is a JSON object, got {str(values)[:60]!r}.")
    if unknown := sorted(set(values) - {f.name for f in fields(ViewSpec)}):
        raise BadModel(f"view has unknown entries {unknown}; a newer crossview may have made it.")
    implied = implies_all_rows(values.get("whole") is True, str(values.get("resize", "area")))
    try:
        check(ViewSpec, {"all_rows": implied, **values})
        # The numbers as they are written: 90 and 90.0 have different fingerprints.
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return ViewSpec(**{"all_rows": implied, **plain})
    except ValueError as problem:
        raise BadModel(f"view cannot be read: {problem}") from problem


def as_wide_as(fov_deg: float, seen_deg: tuple[float, float]) -> bool:
    """Whether a field of view lies between the two of ``seen_deg``, give or take a tenth.

    The narrowest may be a tenth wider than it, and it a tenth wider than the widest: the one
    tolerance for whether a model, or a calibration, knows pictures of this width.
    """
    low, high = seen_deg
    return low / FOV_SLACK <= fov_deg <= high * FOV_SLACK


def find_networks(folder: Path) -> tuple[Path, Path]:
    """The (ground, aerial) ONNX files of a model folder; the same file twice when shared."""
    shared = folder / SHARED_NAME
    if shared.is_file():
        return shared, shared
    ground, aerial = folder / GROUND_NAME, folder / AERIAL_NAME
    if ground.is_file() and aerial.is_file():
        return ground, aerial
    raise BadModel(
        f"No network in {folder}: expected {SHARED_NAME}, or {GROUND_NAME} and {AERIAL_NAME}.\n"
        "Make one with: crossview export RUN --out FOLDER"
    )


def list_networks(folder: Path) -> list[Path]:
    """All ONNX files of a model folder, each once: the branches, and an offset's if it has one."""
    offset = folder / OFFSET_NAME
    return [*dict.fromkeys(find_networks(folder)), *([offset] if offset.is_file() else [])]


def read_info(folder: Path) -> ModelInfo:
    """Read ``model.json`` of a model folder."""
    path = folder / INFO_NAME
    try:
        values = parse_object(read_bytes(path, MOST_INFO_BYTES))
    except FileNotFoundError as problem:
        raise BadModel(
            f"No {INFO_NAME} in {folder}: not a crossview model.\n"
            "Make one with: crossview export RUN --out FOLDER"
        ) from problem
    except (OSError, ValueError) as problem:
        raise BadModel(f"{path} cannot be read: {problem}") from problem
    return ModelInfo.from_json(values)


def encode_info(info: ModelInfo) -> bytes:
    """One byte string per ModelInfo: sorted keys, no spaces."""
    return json.dumps(info.to_json(), sort_keys=True, separators=(",", ":")).encode()


def compute_fingerprint(folder: Path) -> str:
    """sha256 over the canonical JSON and the bytes of the ONNX files, as 64 hex digits.

    It covers the whole network: files that leave tensors in other files are a :class:`BadModel`.
    """
    digest = hashlib.sha256(encode_info(read_info(folder)))
    for path in list_networks(folder):
        digest.update(read_network(path))
    return digest.hexdigest()


class Embedder(Protocol):
    """What index and locate need of a network."""

    @property
    def info(self) -> ModelInfo:
        """Facts about the network."""

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change whenever the network or its facts do."""

    def ground(self, images: U8) -> F32:
        """Unit vectors [B, D] of ground views [B, H, W, 3] that follow ``info.ground``."""

    def aerial(self, images: U8) -> F32:
        """Unit vectors [B, D] of aerial views [B, H, W, 3] that follow ``info.aerial``."""


Regression = Callable[[F32, F32], F32]
"""Unit vectors [N, D] of queries and of a window each -> [N, 2], where in the window the camera
stands: down and right of its middle, in halves of its side."""


def find_regression(embedder: Embedder) -> Regression | None:
    """The head of a network that regresses offsets; None: it has none."""
    regression: Regression | None = getattr(embedder, "offset", None)
    return regression


class Model:
    """A model folder (``model.json`` and ONNX files) computed on the CPU; an Embedder.

    The networks take RGB uint8 [B, H, W, 3] named ``images`` and give float32 [B, D] named
    ``embeddings``: normalisation is part of the network, so it cannot be forgotten or doubled.
    ``offset`` is a :data:`Regression`, or None; its network takes vectors named ``ground`` and
    ``aerial`` and gives float32 [N, 2] named ``offset``.

    ``arithmetic`` other than the default is measured before it is trusted: :meth:`settle`.
    ``drift`` is what was measured for the last region; None: nothing was, or need be.
    """

    offset: Regression | None
    drift: Drift | None

    def __init__(
        self,
        folder: Path,
        *,
        threads: int = 0,
        spinning: bool = True,
        name: str = "",
        arithmetic: Arithmetic = YARDSTICK,
    ) -> None:
        self.folder = folder
        self.name = name or str(folder.resolve())  # by which an index finds the model again
        self.arithmetic = arithmetic
        self.drift = None
        self._threads = Threads(threads, spinning)
        before = identity(folder)
        self._open()
        if identity(folder) != before:  # exported again meanwhile: not files of both
            self._open()

    @staticmethod
    def open(
        name_or_folder: str | Path,
        *,
        threads: int = 0,
        runtime: str = YARDSTICK.runtime,
        precision: str = YARDSTICK.precision,
    ) -> Model:
        """Open a packaged model by its name, a folder of ``crossview export``, or ``hub:...``.

        ``threads``: of the CPU; 0 means all cores. ``runtime``: onnxruntime or openvino;
        ``precision``: float32, bfloat16 or int8.
        """
        return open_model(
            name_or_folder, threads=threads, arithmetic=Arithmetic(runtime, precision)
        )

    def __repr__(self) -> str:
        info = self.info
        trained = "a synthetic town" if info.synthetic else info.training_data
        return f"Model({info.name!r}: vectors of {info.dim} numbers, trained on {trained})"

    def _open(self) -> None:
        self.info = read_info(self.folder)
        self.fingerprint = compute_fingerprint(self.folder)
        self._open_networks()
        self.offset = None
        if (head := self.folder / OFFSET_NAME).is_file():
            self._head = open_network(head, YARDSTICK, self._threads, OF_OFFSETS)
            self.offset = self._regress

    def _open_networks(self, quantised: bytes | None = None) -> None:
        """Open both networks, one where they share it.

        Of int8 the aerial one is ``quantised``, or what was kept of it, or None: not calibrated
        yet; and the ground one is float32, for want of photos to calibrate it on.
        """
        ground, aerial = find_networks(self.folder)
        if self.arithmetic.precision == "int8":
            quantised = quantised or find_quantised(aerial, self.arithmetic.runtime)
            as_float = replace(self.arithmetic, precision="float32")
            self._ground = self._open_one(ground, ground, as_float)
            self._aerial = self._open_one(aerial, quantised, self.arithmetic)
        else:
            self._ground = self._open_one(ground, ground, self.arithmetic)
            self._aerial = self._ground
            if aerial != ground:
                self._aerial = self._open_one(aerial, aerial, self.arithmetic)
        self._digests = [digest_network(each) for each in (ground, quantised or aerial)]

    def _open_one(
        self, path: Path, network: Path | bytes | None, arithmetic: Arithmetic
    ) -> Network | None:
        if network is None:
            return None
        return open_network(network, arithmetic, self._threads, name=str(path))

    def settle(self, region: str, draw_views: Callable[[], U8]) -> None:
        """Calibrate int8 unless that was done, and measure the arithmetic on a region.

        ``draw_views`` gives some of its windows [n, h, w, 3] as the aerial network sees them. What
        was measured for them before is not measured again. Raises :class:`ModelMismatch`, with the
        numbers, where vectors or first places change too much. Nothing to do for the default.
        """
        if self.arithmetic == YARDSTICK:
            return
        views = draw_views()
        chosen = _mark_calibrating(len(views))
        if self._aerial is None:
            _, aerial = find_networks(self.folder)
            LOG.info("Calibrating %s for int8 on %d windows.", aerial.name, int(chosen.sum()))
            pictures = [view[None] for view in views[chosen]]
            runtime = self.arithmetic.runtime
            self._open_networks(require_quantised(aerial, pictures, runtime))
        views = views[~chosen]
        asked = _look_as_ground(views, self.info)
        key = digest_setting(self.arithmetic, self._digests, [asked, views])
        self.drift = recall_drift(key, lambda: self._measure(asked, views))
        LOG.debug("%s: %s.", region, self.drift)
        self.drift.require_small(region)

    def _measure(self, asked: U8, views: U8) -> Drift:
        files = find_networks(self.folder)
        exact = {path: self._open_one(path, path, YARDSTICK) for path in dict.fromkeys(files)}
        ground, aerial = (partial(self._run, exact[path]) for path in files)
        fast = Pair(self.ground, self.aerial)
        return measure_drift(Pair(ground, aerial), fast, (asked, views), self.arithmetic)

    def ground(self, images: U8) -> F32:
        """See :class:`Embedder`."""
        return self._run(self._ground, images)

    def aerial(self, images: U8) -> F32:
        """See :class:`Embedder`."""
        return self._run(self._aerial, images)

    def _regress(self, ground: F32, aerial: F32) -> F32:
        """See :data:`Regression`."""
        places: F32 = self._head({"ground": ground, "aerial": aerial})
        if places.shape != (len(ground), 2) or not np.isfinite(places).all():
            raise BadModel(
                f"The model {self.info.name!r} gave offsets {list(places.shape)}, or some that are "
                "not finite; it is damaged."
            )
        return places

    def _run(self, network: Network | None, images: U8) -> F32:
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] != 3:
            raise InvalidValue(
                f"an embedder takes uint8 [batch, height, width, 3], got {images.dtype} "
                f"{list(images.shape)}."
            )
        if network is None:
            raise UsageError(
                f"int8 of the model {self.info.name!r} is not calibrated on this machine yet.\n"
                "crossview index, locate and serve do it with --precision int8; a program with "
                "Model.settle."
            )
        try:
            vectors = network({"images": images})
        except Exception as problem:  # runtimes raise several private types
            raise BadModel(
                f"The model {self.info.name!r} cannot embed pictures of {list(images.shape[1:])}: "
                f"{shorten_failure(problem)}"
            ) from problem
        if vectors.shape != (len(images), self.info.dim):
            raise BadModel(
                f"The model {self.info.name!r} gave an array {list(vectors.shape)}; its "
                f"{INFO_NAME} says vectors of {self.info.dim} numbers."
            )
        if not np.isfinite(vectors).all():
            raise BadModel(f"The model {self.info.name!r} gave NaN or infinity; it is damaged.")
        return vectors


def _mark_calibrating(count: int) -> Bool:
    """Which of ``count`` pictures int8 finds its ranges on, evenly spread; few keep one each."""
    chosen = np.zeros(count, dtype=bool)
    chosen[
        np.unique(np.linspace(0, count - 1, min(CALIBRATED, count // 2)).round().astype(int))
    ] = 1
    return chosen


def _look_as_ground(views: U8, info: ModelInfo) -> U8:
    """Views of windows in the size of ground pictures, for want of photos of the region.

    Every second one keeps a sector as narrow as the model knows, the rest has the colour of what
    is not seen, where the network's canvas has such a rest.
    """
    import cv2

    spec = info.ground
    size = (spec.width_px, spec.height_px)
    drawn = np.stack([cv2.resize(view, size, interpolation=cv2.INTER_AREA) for view in views])
    if spec.representation == "padded":
        rest = spec.width_px - spec.columns(info.fov_seen_deg[0])
        drawn[::2, :, : rest // 2] = spec.mean_colour
        drawn[::2, :, spec.width_px - (rest - rest // 2) :] = spec.mean_colour
    return drawn.astype(np.uint8)


def settle(embedder: Embedder, region: str, draw_views: Callable[[], U8]) -> None:
    """:meth:`Model.settle`, where the embedder is one that has an arithmetic to choose."""
    if isinstance(embedder, Model):
        embedder.settle(region, draw_views)


def open_model(
    name_or_folder: str | Path,
    *,
    threads: int = 0,
    spinning: bool = True,
    fetch: bool = True,
    arithmetic: Arithmetic = YARDSTICK,
) -> Model:
    """Open a model for embedding; ``threads`` 0 means all cores.

    ``spinning``: its threads burn their cores while they wait for work, which is a little faster
    where nothing else wants them. ``fetch``: as in :func:`resolve_model`. A model of a hub has the
    name of the commit that was pulled, and the licence of its card where it states none itself.
    Another ``arithmetic`` than the default is to be settled on a region (:meth:`Model.settle`).
    """
    if is_hub_name(name_or_folder):
        pulled = _find_or_pull(parse_hub_name(name_or_folder), fetch=fetch)
        name, folder = pulled.record.pinned_name, pulled.folder
        model = Model(folder, name=name, threads=threads, spinning=spinning, arithmetic=arithmetic)
        model.info = complete_licence(model.info, pulled)
    else:
        name = str(name_or_folder) if str(name_or_folder) in list_packaged_models() else ""
        folder = resolve_model(name_or_folder)
        model = Model(folder, name=name, threads=threads, spinning=spinning, arithmetic=arithmetic)
    LOG.debug("Opened the model %s, fingerprint %s.", folder, model.fingerprint[:16])
    return model


def open_index_model(
    made_by: str,
    index: Path,
    *,
    threads: int = 0,
    spinning: bool = True,
    arithmetic: Arithmetic = YARDSTICK,
) -> Model:
    """Open the model that made an index, by the name or folder that the index remembers.

    Raises :class:`BadModel`, which says what to do, where it is not there or damaged. Whether it is
    still the one that made the index is checked by ``Index.require_model``. Nothing is fetched: an
    index may be a stranger's.
    """
    require_runtime(arithmetic)
    try:
        return open_model(
            made_by, threads=threads, spinning=spinning, fetch=False, arithmetic=arithmetic
        )
    except (BadModel, UsageError) as problem:
        raise BadModel(
            f"{index} was made by the model {made_by}, which is not there or "
            f"damaged:\n{str(problem).splitlines()[0]}\n{_say_remedy(made_by)}"
        ) from problem


def _say_remedy(made_by: str) -> str:
    if is_hub_name(made_by):
        return f"Pull it (crossview pull {made_by}), or give the same model with --model."
    return "Give the same model with --model."


def list_packaged_models() -> tuple[str, ...]:
    """Names of the models that came with the package, in alphabetical order."""
    return tuple(sorted(path.parent.name for path in PACKAGED_FOLDER.glob(f"*/{INFO_NAME}")))


def resolve_model(name_or_folder: str | Path, *, fetch: bool = True) -> Path:
    """The folder of a packaged model's name, of a model folder, or of an ``.onnx`` file in one.

    Of ``hub:OWNER/NAME[@REVISION]`` it is what was pulled by that name. If nothing was, it is
    pulled now, or BadModel without ``fetch``. Nothing else makes a request.
    """
    if is_hub_name(name_or_folder):
        return _find_or_pull(parse_hub_name(name_or_folder), fetch=fetch).folder
    packaged = list_packaged_models()
    if str(name_or_folder) in packaged:
        return PACKAGED_FOLDER / str(name_or_folder)
    path = Path(name_or_folder)
    folder = path.parent if path.suffix == ".onnx" else path
    if (folder / INFO_NAME).is_file():
        return folder
    if not path.exists() and path.parent == Path():
        raise UnknownName("model", str(name_or_folder), packaged)
    raise BadModel(
        f"{path} is not a model: expected a folder with {INFO_NAME} and {SHARED_NAME}.\n"
        "Make one with: crossview export RUN --out FOLDER"
    )


def pull_model(name: HubName, note: Callable[[str], None] = LOG.info) -> Pulled:
    """Fetch what a hub has by this name, checked as a model folder if it is one (``hub.pull``)."""
    return pull(name, names=MODEL_FILES, check_folder=check_folder, note=note)


def _find_or_pull(name: HubName, *, fetch: bool) -> Pulled:
    """A model of a hub, pulled unless it was; BadModel for what is no model folder."""
    pulled = find_pulled(name)
    if pulled is None and not fetch:
        raise BadModel(f"{name} was not pulled yet.\nPull it with: crossview pull {name}")
    if pulled is None:
        pulled = pull_model(name)
        licence = pulled.record.licence or NOT_STATED
        if pulled.record.kind == "model":
            licence = complete_licence(read_info(pulled.folder), pulled).licence
        LOG.warning("Pulled %s; licence: %s.", pulled.record.pinned_name, licence)
    if pulled.record.kind != "model":
        raise BadModel(
            f"{name} holds weights of its authors ({pulled.list_weights()[0]}), no model folder.\n"
            "Make a run of them with crossview import, then export it; crossview models says which "
            "can be imported."
        )
    return pulled


def check_folder(folder: Path) -> None:
    """Raise BadModel unless this is a model folder: its facts and networks as they must be."""
    read_info(folder)
    for path in list_networks(folder):
        read_network(path)
    path = folder / TRAINING_NAME
    try:
        if path.exists():
            parse_object(read_bytes(path, MOST_TRAINING_BYTES))
    except (OSError, ValueError) as problem:
        raise BadModel(f"{path} cannot be read: {problem}") from problem


def complete_licence(info: ModelInfo, pulled: Pulled) -> ModelInfo:
    """The facts of a pulled model, with the licence of its card where they state none.

    Where both state none, that is what the licence says: none is inferred.
    """
    if info.licence not in {"", NOT_RECORDED}:
        return info
    stated = pulled.record.licence
    words = f"{stated}, as its card on the hub says" if stated else NOT_STATED
    return replace(info, licence=words)
