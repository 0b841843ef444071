"""ModelInfo: what travels beside a network's ONNX files, and the fingerprint of both."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from crossview.errors import BadModel
from crossview.model.onnx_files import read_network
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

INFO_NAME = "model.json"
SHARED_NAME = "model.onnx"
GROUND_NAME = "model.ground.onnx"
AERIAL_NAME = "model.aerial.onnx"
MOST_INFO_BYTES = 4_000_000
MOST_DIM = 1_000_000
_ADDED = ("attributions", "caution", "limits", "coarsest_imagery_m")
"""Entries that earlier models did not have. They stand in ``model.json`` only where they differ
from their defaults, so that those models keep their fingerprints."""
FOV_SLACK = 1.1  # times as wide as what was seen, or as narrow: still counts as seen


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Facts about a trained network that index and locate rely on.

    ``azimuth_bins`` J: the vector is J blocks, block j describing azimuths from 360 j / J - 180
    degrees clockwise (the columns of :class:`ViewSpec`); an unknown heading is found by turning the
    query through all J. J = 1 is an ordinary vector compared by its dot product.

    ``caution`` continues "made with a model ..." and is a warning of every index and answer that
    the model makes: what it was trained on, and what its places are worth. No full stop.
    """

    name: Text
    ground: ViewSpec
    aerial: ViewSpec
    dim: Annotated[int, Interval(ge=1, le=MOST_DIM)]
    azimuth_bins: AtLeastOne = 1
    synthetic: bool = False  # trained on the embedded world, not on pictures of Earth
    headings_seen: str = "unknown"  # "unknown" or "aligned"
    fov_seen_deg: tuple[float, float] = (360.0, 360.0)
    training_data: Text = "not recorded"
    licence: Text = "not recorded"
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
    for path in dict.fromkeys(find_networks(folder)):
        digest.update(read_network(path))
    return digest.hexdigest()
