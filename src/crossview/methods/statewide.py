"""Statewide: visual geolocalization in the wild, for use only (Fervers et al., ECCV 2024).

arXiv 2409.16763. Written from the paper and from facts about the authors' released code
(fferflo/statewide-visual-geolocalization, MIT), which is not copied. A photo as it is and a cell of
30 m, seen from above at four scales about its centre, become vectors of length 1; the authors give
theirs the length 6, so their score is 36 times the cosine. No heading or field of view goes in, and
none comes out. The published weights are imported, never bundled; who they may be used by is for
their authors to say. Training them anew is not offered (:data:`FOR_USE`).

Deviations, of use only (``docs/methods/statewide.md``): cells lie in the imagery's own rows, at
most 30 m apart, not on the authors' global grid; metres are those of the ellipsoid, not of a sphere
(0.6 % at most); windows whose imagery is missing or of one colour are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossview.errors import BadModel, require
from crossview.networks.backbones import backbone
from crossview.pairs.batch import Views
from crossview.views.spec import ViewSpec

FOR_USE = (
    "statewide is here for use, not for training: its authors trained it for 2.5 days on two H100 "
    "with millions of photos.\nImport the published weights (crossview import statewide), or train "
    "another method."
)
WEIGHTS = ("weights/last.safetensors", "model_weights.safetensors")  # in a published folder
FACTS: dict[str, Any] = {  # of the weights that the authors published, as they say
    "training_data": (
        "Mapillary photos and orthophotos of North Carolina, Washington DC, Berlin/Brandenburg, "
        "North Rhine-Westphalia and Saxony, as stated by the authors; Massachusetts held out"
    ),
    "licence": "none stated by the authors' repository; read the card of the weights",
    "limits": (
        "It answers a cell of 30 m, not a position to metres, and no heading. Measured by its "
        "authors in Massachusetts only: the first cell within 50 m in 61 % of photos. Not for "
        "panoramas, indoor pictures or nights."
    ),
    "coarsest_imagery_m": 0.2,
}
_NORM_OF_ENCODERS = 1e-6  # timm's own; the heads have another
_NORM_OF_HEADS = 1e-5
_SIDES = {"ground": "pv", "aerial": "aerial"}  # ours: theirs
_SCALES = {"scale": "weight", "kernel": "weight", "weight": "weight", "bias": "bias"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """The published configuration (config/main.yaml of the released code)."""

    backbone: str = "convnext_base"  # two of them, without shared weights
    heads: int = 64  # attention maps of each pooling head
    channels: int = 1024  # of a vector; head h pools channels h * 16 to h * 16 + 15
    ground_px: tuple[int, int] = (480, 640)  # height, width of the canvas of a photo
    aerial_px: int = 384  # side of each picture of a cell
    metres_per_px: tuple[float, ...] = (0.2, 0.4, 0.8, 1.6)  # of these pictures, finest first
    cell_m: float = 30.0  # side of a cell

    def __post_init__(self) -> None:
        for name in ("ground_px", "metres_per_px"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        require(
            self.heads > 0 and self.channels % self.heads == 0,
            f"heads must divide channels, got {self.heads} and {self.channels}.",
        )
        scales = self.metres_per_px
        require(
            bool(scales) and scales[0] > 0.0 and list(scales) == sorted(set(scales)),
            f"metres_per_px must be numbers above 0, finest first, got {scales}.",
        )


def views(config: Config) -> Views:
    """The photo, fitted into a black canvas; the cell, at each scale, south up."""
    height, width = config.ground_px
    side = config.aerial_px
    return Views(
        ground=ViewSpec(
            side="ground",
            height_px=height,
            width_px=width,
            representation="letterbox",
            elevation_deg=None,
        ),
        aerial=ViewSpec(
            side="aerial",
            height_px=side * len(config.metres_per_px),
            width_px=side,
            footprint_m=config.cell_m,
            spans_m=tuple(round(side * scale, 6) for scale in config.metres_per_px),
            up_bearing_deg=180.0,
        ),
        headings_seen="unknown",
        fov_seen_deg=(10.0, 170.0),  # photos of any lens, but no panoramas
    )


class SpatialSoftmax(nn.Module):
    """Pool positions [B, P, C] into unit vectors [B, D] with an attention map for each head."""

    def __init__(self, features: int, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(features, eps=_NORM_OF_HEADS)
        self.attention = nn.Linear(features, heads, bias=False)
        self.value = nn.Linear(features, channels)

    def pool(self, positions: Tensor) -> Tensor:
        """[B, D] before normalisation: per head the mean of its channels, weighted over all P."""
        normed = self.norm(positions)
        weights = self.attention(normed).softmax(dim=1)  # [B, P, heads]
        values: Tensor = self.value(normed)
        values = values.view(*values.shape[:2], self.heads, -1)  # [B, P, heads, D / heads]
        pooled = weights.transpose(1, 2).unsqueeze(2) @ values.transpose(1, 2)
        flat: Tensor = pooled.flatten(1)
        return flat

    def forward(self, positions: Tensor) -> Tensor:
        """[B, P, C] -> unit [B, D]."""
        pooled = self.pool(positions)
        unit: Tensor = pooled / (torch.linalg.vector_norm(pooled, dim=1, keepdim=True) + 1e-5)
        return unit


class CellNetwork(nn.Module):
    """Two ConvNeXts and their heads; the pictures of one cell are pooled together."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        for side in _SIDES:
            encoder: Any = backbone(config.backbone, "none", act_layer="gelu_tanh")
            encoder.head = nn.Identity()  # its norm and classifier are no part of this network
            head = SpatialSoftmax(encoder.num_features, config.channels, config.heads)
            self.add_module(f"{side}_encoder", encoder)
            self.add_module(f"{side}_head", head)

    def look(self, side: str, images: Tensor) -> Tensor:
        """Positions [B, P, C] of pictures [B, 3, k s, s] (or [B, 3, h, w]): of all k together."""
        count = images.shape[2] // images.shape[3] if side == "aerial" else 1
        height = images.shape[2] // count
        pictures = images.view(*images.shape[:2], count, height, images.shape[3])
        pictures = pictures.transpose(1, 2).flatten(0, 1)
        features = self.get_submodule(f"{side}_encoder").forward_features(pictures)  # type: ignore[operator]
        positions: Tensor = features.flatten(2).transpose(1, 2)
        return positions.reshape(images.shape[0], -1, positions.shape[2])

    def ground(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> unit [B, D]."""
        vectors: Tensor = self.get_submodule("ground_head")(self.look("ground", images))
        return vectors

    def aerial(self, images: Tensor) -> Tensor:
        """[B, 3, k s, s], the scales one below the other -> unit [B, D]."""
        vectors: Tensor = self.get_submodule("aerial_head")(self.look("aerial", images))
        return vectors


def build(config: Config) -> CellNetwork:
    """The network with random weights, to be filled by :func:`imported`."""
    return CellNetwork(config)


def imported(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The authors' tensors (flax, names joined by ``//``) by the names of our network."""
    return {_rename(name): _reorder(name, value) for name, value in state.items()}


def shown(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Channels and heads, which the shapes of a head show."""
    channels = state["params//pv_decoder//_Linear_1//weight"].shape[1]
    return {
        "heads": int(state["params//pv_decoder//_Linear_0//weight"].shape[1]),
        "channels": int(channels),
    }


def unseen(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Sizes and scales, which no tensor shows."""
    reason = "the network takes pictures of any size"
    return dict.fromkeys(("ground_px", "aerial_px", "metres_per_px", "cell_m"), reason)


def find_published(folder: Path) -> Path:
    """The weights in a published folder, snapshots of a training aside; BadModel where none are."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found[0]
    raise BadModel(
        f"{folder} holds no weights of statewide: expected {WEIGHTS[0]}, {WEIGHTS[1]} or one "
        f"*.safetensors, found {len(found)}.\nGive the file itself."
    )


def read_published_settings(described: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a published config.yaml states, nested or dotted.

    BadModel for a network that this page cannot build.
    """
    flat = {name.replace("_", "-"): value for name, value in _flatten(described)}

    def state(name: str, default: Any) -> Any:
        ends = (value for key, value in flat.items() if f".{key}".endswith(f".{name}"))
        return next(ends, default)

    encoders = {str(state(f"{side}-encoder", "ConvNeXt.base")) for side in _SIDES.values()}
    heads = {str(state(f"{side}-decoder", "SpatialSoftmax")) for side in _SIDES.values()}
    kind = encoders.pop().rpartition(".")[2]
    for fits, what in (
        (not encoders and kind in {"base", "tiny"}, "its encoders are not ConvNeXt base or tiny"),
        (all(h.endswith("SpatialSoftmax") for h in heads), "its heads are no SpatialSoftmax"),
        (not state("pv-aerial-shared-encoder", False), "its sides share one encoder"),
        (not state("scale.learnable", False), "it learns its scale"),
        (not state("data.mercator", False), "its cells are laid out in Web Mercator"),
    ):
        if not fits:
            raise BadModel(f"config.yaml describes a network that cannot be read here: {what}.")
    given = {
        "backbone": f"convnext_{kind}",
        "heads": state("heads", None),
        "channels": state("embedding-channels", None),
        "ground_px": state("pv-shape", None),
        "aerial_px": (state("aerial-shape", None) or [None])[0],
        "metres_per_px": state("meters-per-pixel", None),
        "cell_m": state("cell-size-meters", None),
    }
    return {name: value for name, value in given.items() if value is not None}


def _flatten(values: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        path = f"{before}{name}"
        found += _flatten(value, f"{path}.") if isinstance(value, Mapping) else [(path, value)]
    return found


def _rename(name: str) -> str:
    """``params//pv_encoder//Stage_1//Block_2//_Linear_0//weight`` as timm calls it."""
    _, part, *path = name.split("//")
    side, _, role = part.partition("_")
    ours = {theirs: mine for mine, theirs in _SIDES.items()}[side]
    if role == "decoder":
        inner = {"_Norm_0": "norm", "_Linear_0": "attention", "_Linear_1": "value"}[path[0]]
        return f"{ours}_head.{inner}.{_SCALES[path[1]]}"
    kind, _, number = path[0].partition("_")
    leaf = _SCALES[path[-1]]
    if kind == "Stem":
        inner = f"stem.{ {'Conv_0': 0, '_Norm_0': 1}[path[1]] }.{leaf}"
    elif kind == "Downsample":
        order = {"_Norm_0": 0, "Conv_0": 1}[path[1]]
        inner = f"stages.{int(number) + 1}.downsample.{order}.{leaf}"
    else:
        block = f"stages.{int(number)}.blocks.{int(path[1].removeprefix('Block_'))}"
        parts = {"Conv_0": "conv_dw", "_Norm_0": "norm", "_Linear_0": "mlp.fc1"}
        parts["_Linear_1"] = "mlp.fc2"
        inner = f"{block}.gamma" if len(path) == 3 else f"{block}.{parts[path[2]]}.{leaf}"
    return f"{ours}_encoder.{inner}"


def _reorder(name: str, value: Tensor) -> Tensor:
    """Flax stores (height, width, in, out) and (in, out); torch the other way round."""
    if value.ndim == 4:
        return value.permute(3, 2, 0, 1).contiguous()
    return value.T.contiguous() if value.ndim == 2 else value


TENSORS = r"params//(pv|aerial)_(encoder|decoder)//"
CHECKPOINT = {
    "address": "hub:fferflo/statewide-geoloc-nomassgis",
    "format": "safetensors, 709 MB, with config.yaml",
    "trained_on": (
        "Mapillary photos and open orthophotos of North Carolina, Washington DC, Berlin and "
        "Brandenburg, North Rhine-Westphalia, Saxony; perspective photos, heading unknown"
    ),
    "code_licence": "MIT",
    "weights_licence": "",
    "trained_on_name": "",
    "notes": (
        "Needs imagery 307 m beyond every cell, and about 1.1 h of one CPU thread per km2. "
        "Published: 61 % within 50 m over all of Massachusetts, held out."
    ),
}
