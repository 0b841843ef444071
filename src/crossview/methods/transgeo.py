"""TransGeo: transformer is all you need for geo-localization (Zhu, Shah, Chen, CVPR 2022).

arXiv 2204.00097. Written from the paper and facts about the authors' released code
(Jeff-Zilence/TransGeo2022, MIT; none of it is here). [C]: a constant of that code.

Two trainings. The first is of a DeiT-S for each view. The second ("attend and zoom in") starts from
it (``--weights runs/first``), takes the aerial picture at a higher resolution and keeps of its
patches the ``keep`` share that the first training's aerial encoder attended to most. That encoder
goes along, frozen, as a part of the second network: it looks at every aerial picture anew, in
training, indexing and an exported model alike, where the authors store its maps as files.

Deviations: those maps are made of the same picture made smaller, and are not rounded to 8 bits; the
optimiser begins anew in stage 2; neighbours are sought among all rows; bfloat16 where it is fast;
the last step's weights are kept. ``docs/methods/transgeo.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.arrays import I64
from crossview.errors import WeightsUnavailable, require
from crossview.networks import weight_files
from crossview.networks.backbones import PRETRAINED, RANDOM, backbone, list_sizes
from crossview.networks.layout_masks import make_aligned_views
from crossview.networks.losses import soft_margin_triplet, without_autocast
from crossview.networks.samplers import draw_mined_batches
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable

TOKENS = 2  # before the patches: class and distillation
THEIRS = (("query_net.", "ground.encoder."), ("reference_net.", "aerial.encoder."))
PICTURES_PX = {
    38 * 7: (112, 616),
    256: (256, 256),
    400: (320, 320),
    800: (320, 640),
    625: (400, 400),
}
SECOND = {(266, 400): (256, 256), (800, 625): (320, 320)}  # patches of both views: stage 1's size


@dataclass(frozen=True, kw_only=True)
class Config:
    """CVUSA, first stage; ``--recipe`` has the published settings of both."""

    backbone: str = "deit_small_distilled_patch16_224.fb_in1k"  # section 4.2
    width: int = 384  # of a token; these three are DeiT-S
    layers: int = 12
    heads: int = 6
    dim: int = 1000  # of the two heads, those of ImageNet, whose mean is the vector [C]
    weights: str = "hub"  # ImageNet-1k; "none" or a file, in the second stage of the first
    ground_px: tuple[int, int] = (112, 616)  # height, width [C]; (320, 640) on VIGOR
    aerial_px: tuple[int, int] = (256, 256)  # [C]; (320, 320) on VIGOR; see ``attended_px``
    keep: float = 1.0  # of the aerial patches; 0.64 in the second stage, section 3.3
    attended_px: tuple[int, int] = (256, 256)  # the first stage's ``aerial_px``, if ``keep`` < 1
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.7, 32.7)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    alpha: float = 10.0  # of the triplet loss on 2 - 2 cosine: 20 on the cosine [C]
    batch: int = 32  # section 4.2; 16 on VIGOR [C]
    epochs: float = 100.0  # [C]; 50 on VIGOR, and in the second stage
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-4  # section 4.2; 5e-5 on VIGOR [C]; a tenth in the second stage
    weight_decay: float = 0.03  # [C], on all parameters
    decay_vectors: bool = True
    schedule: str = "epochs"  # [C]: half a cosine, moved between epochs, no warm-up
    rho: float = 2.5  # of ASAM [C]; 0: AdamW alone
    adaptive: bool = True  # ASAM, not SAM, section 3.2
    refresh_epochs: int = 1  # mining, from the second epoch on [C]; 0: random batches
    mine_from: str = "epoch"  # [C]: among the vectors that training has computed
    neighbour_range: int = 100  # [C]: of which the hard ones are drawn
    chunk: int = 0  # pairs encoded at a time (gradient caching); 0: the whole batch
    accumulate: int = 1
    amp: bool = True
    seed: int = 1
    polar: ClassVar[bool] = False  # section 3.1

    def __post_init__(self) -> None:
        for name in ("ground_px", "aerial_px", "attended_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        require(0 < self.keep <= 1, f"keep is a share above 0 and up to 1, got {self.keep}.")
        for name in ("width", "layers", "heads", "dim"):
            value = getattr(self, name)
            require(value >= 1, f"{name} must be at least 1, got {value}.")
        require(
            self.width % self.heads == 0,
            f"width must be a multiple of heads: {self.width} and {self.heads}.",
        )


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows from above, as they are."""
    return make_aligned_views(config)


class DistilledTransformer(nn.Module):
    """A distilled vision transformer; the mean of its two heads is the vector."""

    def __init__(self, config: Config, size_px: tuple[int, int], weights: str = RANDOM) -> None:
        super().__init__()
        self.transformer: Any = backbone(
            config.backbone,
            weights,
            num_classes=config.dim,
            img_size=size_px,
            embed_dim=config.width,
            depth=config.layers,
            num_heads=config.heads,
        )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches; what is left of a picture at its ends is not seen."""
        rows, columns = self.transformer.patch_embed.grid_size
        return rows, columns

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width of its pictures."""
        height, width = self.transformer.patch_embed.img_size
        return height, width

    def forward(self, images: Tensor, kept: Tensor | None = None) -> Tensor:
        """[B, 3, h, w] -> [B, dim], of any length; ``kept`` [B, K]: the patches that are used."""
        tokens = self.transformer.norm(self.transformer.blocks(self._embed(images, kept)))
        first, second = (
            self.transformer.head(tokens[:, 0]),
            self.transformer.head_dist(tokens[:, 1]),
        )
        mean: Tensor = (first + second) / 2
        return mean

    def forget_vectors(self) -> None:
        """Keep what :meth:`attend` needs, and nothing behind it."""
        for name in _list_unused(len(self.transformer.blocks)):
            self.transformer.set_submodule(name, nn.Identity())

    def attend(self, images: Tensor) -> Tensor:
        """[B, rows, columns]: how much the last layer's two tokens look at each patch; at most 1.

        Sums over tokens and heads, divided by the largest of a picture [C].
        """
        blocks = self.transformer.blocks
        tokens = blocks[:-1](self._embed(images, None))
        attention = blocks[-1].attn
        count, length, width = tokens.shape
        heads = attention.num_heads
        both = attention.qkv(blocks[-1].norm1(tokens))[..., : 2 * width]
        queries, keys = both.reshape(count, length, 2, heads, width // heads).permute(2, 0, 3, 1, 4)
        looks = (queries[:, :, :TOKENS] * attention.scale @ keys.transpose(2, 3)).softmax(dim=3)
        summed = looks[..., TOKENS:].sum(dim=(1, 2))
        attended: Tensor = (summed / summed.amax(dim=1, keepdim=True)).unflatten(1, self.grid)
        return attended

    def _embed(self, images: Tensor, kept: Tensor | None) -> Tensor:
        network = self.transformer
        patches = network.patch_embed(images) + network.pos_embed[:, TOKENS:]
        if kept is not None:
            patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[2]))
        both = torch.cat([network.cls_token, network.dist_token], 1) + network.pos_embed[:, :TOKENS]
        return torch.cat([both.expand(len(patches), -1, -1), patches], dim=1)


def _list_unused(layers: int) -> list[str]:
    """The parts of a transformer that its last layer's attention does not rest on."""
    last = [f"blocks.{layers - 1}.{name}" for name in ("attn.proj", "norm2", "mlp")]
    return [*last, "norm", "head", "head_dist"]


class DistilledBranch(nn.Module):
    """One view: [B, 3, h, w] -> unit [B, dim]."""

    def __init__(self, encoder: DistilledTransformer) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """The vector at length 1."""
        return F.normalize(self.embed(images), dim=1)

    def embed(self, images: Tensor) -> Tensor:
        """[B, dim] of any length."""
        vectors: Tensor = self.encoder(images)
        return vectors


class CroppedBranch(DistilledBranch):
    """The aerial view of the second stage: of the patches that ``attender`` looks at most."""

    shrink_y: Tensor  # from this picture's size to the attender's
    shrink_x: Tensor
    spread_y: Tensor  # from the attender's patches to this picture's
    spread_x: Tensor

    def __init__(
        self, encoder: DistilledTransformer, attender: DistilledTransformer, keep: float
    ) -> None:
        super().__init__(encoder)
        self.attender = attender.requires_grad_(False)  # it stays what stage 1 made it
        self.attender.forget_vectors()
        rows, columns = encoder.grid
        self.kept = max(1, int(keep * rows * columns + 1e-6))
        sizes = [(*encoder.size_px, *attender.grid), (*attender.size_px, *encoder.grid)]
        names = ("shrink_y", "shrink_x", "spread_y", "spread_x")
        for name, before, after in zip(names, *sizes, strict=True):
            self.register_buffer(name, make_resizing(before, after), persistent=False)

    def embed(self, images: Tensor, attention: Tensor | None = None) -> Tensor:
        """[B, dim] of any length; ``attention`` [B, rows, columns] instead of the attender's."""
        seen = self.attend(images) if attention is None else attention
        vectors: Tensor = self.encoder(images, self.choose(seen))
        return vectors

    def attend(self, images: Tensor) -> Tensor:
        """[B, rows, columns] of the attender's patches, in float32 also under autocast."""
        with without_autocast(images):
            return self.attender.attend(self.shrink_y @ images.float() @ self.shrink_x.T)

    def choose(self, attention: Tensor) -> Tensor:
        """[B, K] of this picture's patches, those that are attended to most, in their order."""
        with without_autocast(attention):
            spread = (self.spread_y @ attention.float() @ self.spread_x.T).flatten(1)
        return spread.topk(self.kept, dim=1).indices.sort(dim=1).values


class TransGeoNetwork(nn.Module):
    """Two branches that share nothing; in stage 2 ``aerial`` is a CroppedBranch."""

    def __init__(self, ground: DistilledBranch, aerial: Any) -> None:
        super().__init__()
        self.ground, self.aerial = ground, aerial


def make_resizing(before: int, after: int) -> Tensor:
    """[after, before] matrix of bilinear resizing along an axis, antialiased where it shrinks.

    What ``torch.nn.functional.interpolate`` does, as a product that every runtime has.
    """
    scale = before / after
    reach = max(scale, 1.0)  # of the triangle, in pixels of before
    middles = (torch.arange(after, dtype=torch.float64) + 0.5) * scale
    away = (torch.arange(before, dtype=torch.float64) + 0.5 - middles[:, None]).abs() / reach
    weights = (1 - away).clamp_min(0)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def build(config: Config) -> TransGeoNetwork:
    """A DeiT-S for each view; in the second stage with the first's aerial encoder beside it.

    Raises WeightsUnavailable where the second stage has no first one to start from.
    """
    if config.keep == 1:
        sizes = (config.ground_px, config.aerial_px)
        return TransGeoNetwork(
            *(DistilledBranch(DistilledTransformer(config, size, config.weights)) for size in sizes)
        )
    if config.weights == PRETRAINED:
        raise WeightsUnavailable(
            f"keep={config.keep:g} is TransGeo's second stage, which starts from a run of the "
            "first.\nName that run: --weights RUN. Or train the first stage: --config keep=1."
        )
    ground, aerial, attender = (
        DistilledTransformer(config, size)
        for size in (config.ground_px, config.aerial_px, config.attended_px)
    )
    network = TransGeoNetwork(DistilledBranch(ground), CroppedBranch(aerial, attender, config.keep))
    return network if config.weights == RANDOM else _begin(network, Path(config.weights))


def _begin(network: TransGeoNetwork, path: Path) -> TransGeoNetwork:
    """The second stage as the first one left it, its aerial positions at the new resolution."""
    from timm.layers import resample_abs_pos_embed

    first = _read_first(path)
    begun = first | _as_attender(first, len(network.aerial.encoder.transformer.blocks))
    aerial, name = network.aerial, "aerial.encoder.transformer.pos_embed"
    sizes = [math.prod(size) for size in (aerial.attender.grid, aerial.encoder.grid)]
    if name in first and first[name].ndim == 3 and first[name].shape[1] == TOKENS + sizes[0]:
        begun[name] = resample_abs_pos_embed(
            first[name].float(),
            list(aerial.encoder.grid),
            list(aerial.attender.grid),
            num_prefix_tokens=TOKENS,
        )
    fitting, complaint = weight_files.fit(network.state_dict(), begun, path)
    if complaint:
        raise WeightsUnavailable(
            f"{path} is no first stage of these settings: {complaint}.\n"
            "Its sizes must be ground_px and attended_px, its width and layers the same."
        )
    network.load_state_dict(fitting)
    return network


def _read_first(path: Path) -> dict[str, Tensor]:
    """The tensors of a first stage by our names, of a run's weights or of the authors' file."""
    try:
        tensors = weight_files.read_weights(path).tensors
    except OSError as problem:
        raise WeightsUnavailable(f"Weights {path} cannot be read: {problem.strerror}.") from problem
    named = {_rename(name): value for name, value in tensors.items()}
    if not any(name.startswith("aerial.encoder.") for name in named):
        raise WeightsUnavailable(
            f"{path} is no first stage of TransGeo: it holds {len(named)} tensors, such as "
            f"{next(iter(named))}.\nName its run, or the authors' checkpoint."
        )
    if any(name.startswith("aerial.attender.") for name in named):
        raise WeightsUnavailable(
            f"{path} is of a second stage already.\nName the run of the first stage."
        )
    return named


def _as_attender(first: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """What the second stage's crop is chosen with, of a first stage's tensors."""
    start = "aerial.encoder.transformer."
    unused = tuple(f"{start}{name}." for name in _list_unused(layers))
    return {
        name.replace(".encoder.", ".attender."): value
        for name, value in first.items()
        if name.startswith(start) and not name.startswith(unused)
    }


def encode(model: TransGeoNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, dim] of both views."""
    return {"ground": model.ground(batch.ground), "aerial": model.aerial(batch.aerial)}


def contrast(
    model: TransGeoNetwork, vectors: dict[str, Tensor], config: Config
) -> dict[str, Tensor]:
    """All triplets of the batch (section 3.2)."""
    return {"triplet": soft_margin_triplet(vectors["ground"], vectors["aerial"], config.alpha)}


def objective(model: TransGeoNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: I64 | None
) -> Iterator[list[int]]:
    """Random places, and from the second epoch on for each of half of them one that looks alike."""
    return draw_mined_batches(table, neighbours, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """Nothing: no change of pictures is known of the released code."""
    return pair


def imported(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The authors' checkpoint by our names; a second stage with the first, of ``weights``."""
    tensors = {_rename(name): value for name, value in state.items()}
    if config.keep == 1:
        return tensors
    if config.weights in (PRETRAINED, RANDOM):
        raise WeightsUnavailable(
            "The crop of a second stage is chosen by the first stage's aerial encoder, which is in "
            "another checkpoint.\nName that file, or its run: --config weights=FILE. If all "
            "patches are kept: --config keep=1."
        )
    return tensors | _as_attender(_read_first(Path(config.weights)), config.layers)


def _rename(name: str) -> str:
    for theirs, ours in THEIRS:
        if name.startswith(theirs):
            return f"{ours}transformer.{name.removeprefix(theirs)}"
    return name


def shown(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Widths, layers and sizes of pictures; of known sizes also the stage."""
    head = state.get("query_net.head.weight")
    settings: dict[str, Any] = (
        {} if head is None else dict(zip(("dim", "width"), head.shape, strict=True))
    )
    layers = {name.split(".")[2] for name in state if name.startswith("query_net.blocks.")}
    settings |= {"layers": len(layers)} if layers else {}
    patches = _count_patches(state)
    for setting, count in patches.items():
        if count in PICTURES_PX:
            settings[setting] = PICTURES_PX[count]
    if first := SECOND.get((patches["ground_px"], patches["aerial_px"])):
        settings |= {"keep": 0.64, "attended_px": first}
    return settings


def unseen(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The settings that the tensors do not show, with the reason."""
    reasons = {"heads": "the shapes are alike for any number of attention heads"}
    patches = _count_patches(state)
    for setting, count in patches.items():
        told = f"its table has {count} positions of 16"
        if setting == "ground_px":
            reasons[setting] = f"{told}, in rows that are not told"
        elif count not in PICTURES_PX:
            reasons[setting] = f"{told}: {list_sizes(count, 16)}"
    if SECOND.get((patches["ground_px"], patches["aerial_px"])):
        reasons["keep"] = "so large an aerial picture is the second stage's; a crop has no tensors"
        reasons["attended_px"] = "nor has the picture that the crop is chosen by"
    return reasons


def _count_patches(state: Mapping[str, Tensor]) -> dict[str, int]:
    tables = {"ground_px": "query_net.pos_embed", "aerial_px": "reference_net.pos_embed"}
    return {
        setting: int(state[name].shape[1]) - TOKENS
        if name in state and state[name].ndim == 3
        else 0
        for setting, name in tables.items()
    }


RECIPES = {
    "cvusa": {"whole": True},
    "cvusa-stage2": {
        "whole": True,
        "aerial_px": (320, 320),
        "keep": 0.64,
        "lr": 1e-05,
        "epochs": 50,
    },
    "cvact": {"whole": True},
    "cvact-stage2": {
        "whole": True,
        "aerial_px": (320, 320),
        "keep": 0.64,
        "lr": 1e-05,
        "epochs": 50,
    },
    "vigor": {
        "whole": True,
        "ground_px": (320, 640),
        "aerial_px": (320, 320),
        "batch": 16,
        "epochs": 50,
        "lr": 5e-05,
    },
    "vigor-stage2": {
        "whole": True,
        "ground_px": (320, 640),
        "aerial_px": (400, 400),
        "attended_px": (320, 320),
        "keep": 0.64,
        "batch": 16,
        "epochs": 50,
        "lr": 5e-06,
    },
}
REPRODUCES = {  # by the second training, which begins from the first
    "cvusa": (),
    "cvusa-stage2 --weights runs/transgeo-cvusa": ("TransGeo",),
    "cvact": (),
    "cvact-stage2 --weights runs/transgeo-cvact": ("TransGeo",),
    "vigor": (),
    "vigor-stage2 --weights runs/transgeo-{data}": ("TransGeo",),
}
TENSORS = r"(query|reference)_net\.(patch_embed|blocks)\."
COST = {
    "source": "Table VII of GeoDTR+, on a V100",
    "parameters_m": 44.0,
    "ms_per_pair": 99.0,
    "macs_g": 11.35,
}
CHECKPOINT = {
    "address": "Google Drive, linked in its README",
    "format": "pth, a pickle",
    "trained_on": "CVUSA, CVACT or VIGOR, which are for research only; panoramas",
    "code_licence": "MIT",
    "weights_licence": "",
    "trained_on_name": "cvusa, cvact, vigor-same or vigor-cross",
    "notes": (
        "Download it yourself; the file is read without running code. The second stage needs "
        "the first's file too."
    ),
}
