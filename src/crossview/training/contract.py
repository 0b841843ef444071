"""What a method must offer: one module with six plain names (``docs/adding-a-method.md``).

The contract as checks that anyone's page can be put through, at the door and in the tests.

Recipe: the numbers that the loop itself needs, taken from a method's Config by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
import torch
from torch import nn

from crossview.arrays import I64
from crossview.errors import InvalidValue, require
from crossview.pairs.batch import Batch, PairPixels, RawBatch, TrainingLength, Views, to_batch
from crossview.pairs.table import PairTable

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from crossview.pairs.table import PairTable


class Method(Protocol):
    """A page of :mod:`crossview.methods`, or anyone's own file given as ``--method ./mine.py``.

    ``Config``    frozen dataclass of plain JSON values, every one with a default; the fields that
                  the loop reads are those of :class:`crossview.training.contract.TrainingRecipe`.
    ``views``     config -> what each branch sees.
    ``build``     config -> nn.Module with methods ``ground`` and ``aerial``, each taking float32
                  [B, 3, h, w] and giving unit vectors [B, D].
    ``objective`` (model, batch, config) -> named scalars; the loop minimises their sum.
    ``batches``   (table, config, generator, neighbours) -> the row lists of one epoch.
    ``augment``   (pair, config, rng) -> pair; runs in loader workers, on uint8 arrays. Its
                  ``ground`` must fit the ground ViewSpec; ``aerial`` may have any size. A tuple of
                  pairs is several copies of one place: ``batch.more`` holds all but the first.

    A page may also offer ``check`` (table, config): InvalidValue where these pairs cannot serve;
    ``rate`` (name, config): the share of the learning rate at which the parameter of that name is
    trained, 0 to freeze it; and ``measure`` (model, batches): what a fresh network takes from
    pictures before its first step, from whole pairs as they are. A game has ``play`` (model, batch,
    config), which yields (player, losses), and ``player`` (name, config), whose a parameter is.

    A page of published weights, for use only, has a sentence ``FOR_USE`` that says why it cannot
    be trained, and needs the first three names alone. ``FACTS``: what its authors say of the
    weights; ``find_published`` (folder) and ``read_published_settings`` (config.yaml, as read).
    """

    Config: Callable[..., Any]
    views: Callable[[Any], Views]
    build: Callable[[Any], nn.Module]
    objective: Callable[[Any, Batch, Any], Mapping[str, Tensor]]
    batches: Callable[[PairTable, Any, torch.Generator, I64 | None], Iterator[list[int]]]
    augment: Callable[[PairPixels, Any, np.random.Generator], PairPixels | tuple[PairPixels, ...]]


Schedule = Literal["steps", "epochs", "loader", "exponential", "polynomial"]
Optimiser = Literal["adamw", "sgd"]
SCHEDULES, OPTIMISERS = get_args(Schedule), get_args(Optimiser)


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """How a method is trained. A Config that has a field of the same name decides it.

    An epoch is ``rows // batch`` batches. With ``steps`` = 0 the number of optimiser steps is
    ``epochs`` epochs; warm-up is linear from 0, then half a cosine down to 0.

    ``schedule`` "epochs" changes the rate between epochs only, as GeoDTR's authors do: epoch e
    trains at e / warmup_epochs of ``lr``, the first therefore at 0. "loader" is that of the authors
    of Sample4Geo, ConGeo and SinGeo: the rate moves with every step, its course is counted in
    batches of an epoch rounded up, which is more than the full ones that are trained, and its first
    step is at 0, so the last one ends a little above 0. A training of so many ``steps`` is always
    scheduled by steps. "exponential" is VIGOR's: after ``tenth_steps`` steps the rate is a tenth of
    ``lr``, after twice as many a hundredth, however long the training is; there is no warm-up.
    "polynomial" is HER's: the share of the training that is left, to the power ``decay_power``. It
    changes between epochs; with ``steps``, with every step. There is no warm-up either.
    """

    steps: int = 0  # optimiser steps; 0: epochs decide
    epochs: float = 1.0
    batch: int = 32  # pairs that one call of the objective contrasts
    accumulate: int = 1  # batches per optimiser step
    lr: float = 1e-4
    weight_decay: float = 0.01
    optimiser: Optimiser = "adamw"  # or stochastic gradient descent, whose decay is of the gradient
    momentum: float = 0.9  # of "sgd"
    eps: float = 1e-8  # of AdamW
    beta1: float = 0.9  # of AdamW: how much of the former steps' gradients goes on
    decay_vectors: bool = False  # also decay parameters of one axis or none (biases, norms, scale)
    warmup_steps: int = 0
    warmup_epochs: float = 0.0  # added to warmup_steps
    schedule: Schedule = "steps"
    tenth_steps: int = 150_000  # of "exponential"
    decay_power: float = 1.0  # of "polynomial"
    clip_norm: float = 0.0  # of all gradients; 0: off
    clip_value: float = 0.0  # element by element; 0: off
    ema_decay: float = 0.0  # averaged weights for validation and export; 0: off
    rho: float = 0.0  # radius of SAM, whose steps take two passes (networks.asam); 0: off
    adaptive: bool = True  # that radius counts in sizes of each weight: ASAM
    amp: bool = True  # bfloat16 where the device is fast at it
    chunk: int = 0  # pairs encoded at a time (training.loop); 0: the whole batch
    refresh_epochs: int = 0  # neighbours by similarity every so many epochs; 0: never
    mine_from: Literal["pass", "epoch"] = "pass"  # a pass of its own, or the epoch's own vectors
    seed: int = 1

    def __post_init__(self) -> None:
        require(self.batch >= 2, f"batch must be at least 2, got {self.batch}.")
        require(self.accumulate >= 1, f"accumulate must be at least 1, got {self.accumulate}.")
        require(
            math.isfinite(self.lr) and self.lr > 0, f"lr must be a number above 0, got {self.lr}."
        )
        require(0 <= self.beta1 < 1, f"beta1 must lie in [0, 1), got {self.beta1}.")
        require(0 <= self.ema_decay < 1, f"ema_decay must lie in [0, 1), got {self.ema_decay}.")
        require(
            math.isfinite(self.rho) and self.rho >= 0,
            f"rho must be a number of at least 0, got {self.rho}.",
        )
        require(
            self.steps > 0 or self.epochs > 0,
            f"steps or epochs must be above 0, got steps {self.steps}, epochs {self.epochs}.",
        )
        require(self.seed >= 0, f"seed must be at least 0, got {self.seed}.")
        require(self.chunk >= 0, f"chunk must be at least 0, got {self.chunk}.")
        require(
            self.mine_from in ("pass", "epoch"),
            f"mine_from must be pass or epoch, got {self.mine_from!r}.",
        )
        require(
            self.schedule in SCHEDULES,
            f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}.",
        )
        require(self.tenth_steps >= 1, f"tenth_steps must be at least 1, got {self.tenth_steps}.")
        require(self.decay_power > 0, f"decay_power must be above 0, got {self.decay_power}.")
        require(
            self.optimiser in OPTIMISERS,
            f"optimiser must be one of {', '.join(OPTIMISERS)}, got {self.optimiser!r}.",
        )
        require(0 <= self.momentum < 1, f"momentum must lie in [0, 1), got {self.momentum}.")
        require(
            self.schedule != "epochs" or self.steps > 0 or self.epochs > 1,
            f"schedule epochs trains the first epoch at rate 0, so epochs must be more than 1, "
            f"got {self.epochs}.\nUse more epochs, or schedule=steps.",
        )

    @staticmethod
    def of(config: Any) -> TrainingRecipe:
        """The fields that ``config`` has, defaults for the others."""
        names = [f.name for f in fields(TrainingRecipe) if hasattr(config, f.name)]
        return TrainingRecipe(**{name: getattr(config, name) for name in names})

    def total_steps(self, rows: int) -> int:
        """Optimiser steps of a whole training on ``rows`` pairs; at least 1."""
        return self.steps or max(1, round(self.epochs * self._steps_per_epoch(rows)))

    def lr_at(self, step: int, rows: int) -> float:
        """Learning rate of the optimiser step number ``step``, counted from 0.

        Warm-up by "steps" never starts at exactly 0 (step 0 would be wasted): it uses
        (step + 1) / warm. That of "loader" does: step / warm.
        """
        if self.schedule == "epochs" and not self.steps:
            return self.lr * self.epoch_factor(int(step / self._steps_per_epoch(rows)))
        if self.schedule == "loader" and not self.steps:
            return self.lr * self._loader_factor(step, rows)
        if self.schedule == "exponential":
            return self.lr * math.pow(0.1, step / self.tenth_steps)
        if self.schedule == "polynomial":
            return self.lr * self._polynomial_factor(step, rows)
        total = self.total_steps(rows)
        warm = self.warmup_steps + round(self.warmup_epochs * self._steps_per_epoch(rows))
        warm = min(warm, total)
        if step < warm:
            return self.lr * (step + 1) / warm
        return self.lr * 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

    def span(self, rows: int) -> TrainingLength:
        """How long a whole training on ``rows`` pairs is, in epochs."""
        epochs = self.total_steps(rows) / self._steps_per_epoch(rows)
        return TrainingLength(epochs=epochs, batches=max(1, rows // self.batch))

    def epoch_factor(self, epoch: int) -> float:
        """Share of ``lr`` in ``epoch`` (from 0): linear warm-up from 0, then half a cosine."""
        if epoch < self.warmup_epochs:
            return epoch / self.warmup_epochs
        done = (epoch - self.warmup_epochs) / max(1.0, self.epochs - self.warmup_epochs)
        return 0.5 * (1.0 + math.cos(math.pi * done))

    def _polynomial_factor(self, step: int, rows: int) -> float:
        """Share of ``lr`` at ``step``: what is left of the steps, or of the epochs."""
        epoch = int(step / self._steps_per_epoch(rows))
        done = step / self.steps if self.steps else epoch / self.epochs
        return math.pow(max(0.0, 1.0 - done), self.decay_power)

    def _loader_factor(self, step: int, rows: int) -> float:
        """Share of ``lr`` at ``step``, where the incomplete last batch of an epoch counts."""
        counted = math.ceil(rows / self.batch) / self.accumulate
        total = self.epochs * counted
        warm = self.warmup_steps + self.warmup_epochs * counted
        if step < warm:
            return step / max(1.0, warm)
        done = (step - warm) / max(1.0, total - warm)
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))

    def _steps_per_epoch(self, rows: int) -> float:
        return max(1, rows // self.batch) / self.accumulate


NAMES = ("Config", "views", "build", "objective", "batches", "augment")
UNIT = 1e-3  # how far from 1 a vector's length may be


def require_trainable(page: Any, name: str) -> None:
    """InvalidValue, in the page's own words, where it is for use only (``FOR_USE``)."""
    if why := str(getattr(page, "FOR_USE", "")):
        raise InvalidValue(f"{name} cannot be trained here: {why}")


def is_game(page: Any) -> bool:
    """Whether a page's parts are trained against each other, turn by turn."""
    return callable(getattr(page, "play", None))


def in_halves(page: Any) -> bool:
    """Whether a page's objective is ``contrast`` over ``encode``, both of which it offers."""
    return callable(getattr(page, "encode", None)) and callable(getattr(page, "contrast", None))


def require_playable(page: Any, recipe: TrainingRecipe) -> None:
    """InvalidValue for settings of one pass over one sum, asked of a game."""
    for name in ("chunk", "rho"):
        if is_game(page) and getattr(recipe, name):
            raise InvalidValue(
                f"{name}={getattr(recipe, name):g} is for a method that minimises one sum, and "
                f"the parts of this one are trained turn by turn; use {name}=0."
            )


def require_divisible(page: Any, recipe: TrainingRecipe, count: int) -> None:
    """InvalidValue where ``count`` ranks cannot train a page as one device would.

    Its negatives are those of the whole batch only where what is gathered, vectors, and what is
    made of them are told apart; and every rank takes as many pairs.
    """
    if count == 1:
        return
    kind = "is a game (play)" if is_game(page) else "has one objective over pictures"
    require(
        in_halves(page) and not is_game(page),
        f"this method {kind}, so that its negatives cannot be those of all {count} ranks.\n"
        "Train it on one device, or a method that offers encode and contrast "
        "(docs/training.md, Many devices).",
    )
    least = recipe.batch // count * count
    require(
        recipe.batch % count == 0,
        f"a batch of {recipe.batch} pairs cannot be cut into {count} equal parts.\n"
        f"Use --batch {least + count}{f' or {least}' if least >= 2 else ''}: the batch is that of "
        "all ranks together.",
    )


def find_players(model: nn.Module, page: Any, config: Any) -> dict[str, list[nn.Parameter]]:
    """The trained parameters of each player of a game, by the page's ``player``."""
    players: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            players.setdefault(page.player(name, config), []).append(parameter)
    return players


def check_names(page: Any, name: str) -> None:
    """The six names exist and are callable, and Config is a frozen dataclass of plain values.

    Three are enough for a page that says why it is for use only.
    """
    needed = NAMES[:3] if hasattr(page, "FOR_USE") else NAMES
    missing = [n for n in needed if not callable(getattr(page, n, None))]
    _demand(not missing, name, f"lacks {', '.join(missing)}; it needs {', '.join(needed)}")
    config = page.Config()
    frozen = is_dataclass(config) and getattr(config, "__dataclass_params__").frozen  # noqa: B009
    _demand(frozen, name, "has a Config that is no frozen dataclass with a default for every field")
    try:
        again = page.Config(**json.loads(json.dumps(asdict(config))))
    except (TypeError, ValueError) as problem:
        raise _broken(name, f"has a Config that does not survive JSON: {problem}") from problem
    _demand(again == config, name, "has a Config that changes on its way through JSON")
    _demand(isinstance(page.views(config), Views), name, "views(config) gives no Views")
    TrainingRecipe.of(config)


def check_branches(model: nn.Module, views: Views, name: str) -> None:
    """Each branch alone gives unit vectors, the same for a picture whatever shares its batch."""
    batch = example_batch(views, next(model.parameters()).device)
    mode = model.training
    model.eval()
    dims = set()
    with torch.no_grad():
        for side, images in (("ground", batch.ground), ("aerial", batch.aerial)):
            vectors = getattr(model, side)(images).float()
            first = getattr(model, side)(images[:2]).float()
            _demand(
                vectors.ndim == 2 and len(vectors) == len(images),
                name,
                f"{side} gives {list(vectors.shape)} for {len(images)} images; expected [B, D]",
            )
            lengths = vectors.norm(dim=1)
            _demand(
                bool(torch.isfinite(vectors).all()) and bool((lengths - 1).abs().max() < UNIT),
                name,
                f"{side} gives vectors of length {float(lengths.max()):.4g}; they must be 1",
            )
            _demand(
                bool(torch.allclose(vectors[:2], first, atol=1e-3)),
                name,
                f"{side} gives a picture another vector in another batch (eval mode)",
            )
            dims.add(vectors.shape[1])
            lengths = vectors.unflatten(1, (views.azimuth_bins, -1)).norm(dim=2)
            _demand(
                not views.equal_bins or bool((lengths.std(dim=1) < UNIT).all()),
                name,
                f"{side} gives blocks of different lengths, but says equal_bins",
            )
    model.train(mode)
    _demand(len(dims) == 1, name, f"branches give vectors of different length: {sorted(dims)}")
    _demand(
        dims.pop() % views.azimuth_bins == 0,
        name,
        f"vectors cannot be cut into {views.azimuth_bins} azimuth bins",
    )


def check_augment(page: Any, config: Any, views: Views, name: str) -> None:
    """Same generator, same result; uint8 pictures; the given arrays are left alone."""
    pair = example_pair(views)
    before = (pair.ground.copy(), pair.aerial.copy())
    runs = [page.augment(pair, config, np.random.default_rng(5)) for _ in range(2)]
    results = [m if isinstance(m, tuple) else (m,) for m in runs]
    fine = all(isinstance(p, PairPixels) for p in results[0]) and bool(results[0])
    _demand(fine, name, "augment gives no PairPixels")
    for ours, again in zip(*results, strict=True):
        for side in ("ground", "aerial"):
            one, two = getattr(ours, side), getattr(again, side)
            fine = one.dtype == np.uint8 and one.ndim == 3
            _demand(fine, name, f"augment's {side} is not uint8 HWC")
            _demand(np.array_equal(one, two), name, "augment draws from something else than rng")
    same = np.array_equal(before[0], pair.ground) and np.array_equal(before[1], pair.aerial)
    _demand(same, name, "augment writes into the arrays that it was given")


def check_objective(page: Any, model: nn.Module, config: Any, views: Views, name: str) -> None:
    """Named finite scalars, whose sum reaches the weights; of a game, those of each turn, too."""
    model.train()
    device = next(model.parameters()).device
    batch = example_batch(views, device, count_copies(page, config))
    if is_game(page):
        _check_turns(page, model, batch, config, name)
    losses = page.objective(model, batch, config)
    _check_losses(losses, "objective", name)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    reached = any(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
    model.zero_grad(set_to_none=True)
    _demand(reached, name, "objective has no gradient")


def _check_losses(losses: Any, where: str, name: str) -> None:
    _demand(isinstance(losses, dict) and bool(losses), name, f"{where} gives no named losses")
    for key, value in losses.items():
        _demand(
            value.ndim == 0 and bool(torch.isfinite(value)), name, f"loss {key} is no finite scalar"
        )


def _check_turns(page: Any, model: nn.Module, batch: Batch, config: Any, name: str) -> None:
    """Every player has one turn, whose losses reach its weights."""
    players = find_players(model, page, config)
    played = []
    for player, losses in page.play(model, batch, config):
        played.append(player)
        _check_losses(losses, f"the turn of {player}", name)
        own = players.get(player, [])
        total = torch.stack(list(losses.values())).sum()
        if own:
            torch.autograd.backward(total, inputs=own)
        reached = any(p.grad is not None and bool(p.grad.any()) for p in own)
        model.zero_grad(set_to_none=True)
        _demand(reached, name, f"has a turn of {player} that reaches none of its weights")
    _demand(
        sorted(played) == sorted(players),
        name,
        f"has weights of {', '.join(sorted(players))}, but turns of {', '.join(played)}",
    )


def check_batches(page: Any, table: PairTable, config: Any, name: str) -> None:
    """Full lists of row numbers, the same for the same generator, no row twice in a batch."""
    orders = [
        list(page.batches(table, config, torch.Generator().manual_seed(3), None)) for _ in range(2)
    ]
    _demand(orders[0] == orders[1], name, "batches draws from something else than its generator")
    for rows in orders[0]:
        inside = all(isinstance(row, int) and 0 <= row < len(table) for row in rows)
        _demand(inside, name, f"batches gives row numbers outside 0..{len(table) - 1}")
        _demand(len(set(rows)) == len(rows), name, "batches puts a row into a batch twice")


def check_everything(
    page: Any, model: nn.Module, config: Any, table: PairTable, name: str
) -> Iterator[str]:
    """All checks of a page with this Config; yields the name of each after it passed."""
    views = page.views(config)
    check_names(page, name)
    yield "names"
    check_branches(model, views, name)
    yield "branches"
    check_augment(page, config, views, name)
    yield "augment"
    check_objective(page, model, config, views, name)
    yield "objective"
    check_batches(page, table, config, name)
    yield "batches"


def example_pair(views: Views) -> PairPixels:
    """A seeded pair of noise that fits the views."""
    rng = np.random.default_rng(1)
    ground, aerial = views.ground, views.aerial
    side = round(1.25 * (2 * aerial.height_px if aerial.polar else aerial.width_px))
    return PairPixels(
        ground=rng.integers(0, 256, (ground.height_px, ground.width_px, 3), dtype=np.uint8),
        aerial=rng.integers(0, 256, (side, side, 3), dtype=np.uint8),
        metres_per_px=aerial.metres_per_px if aerial.footprint_m else 1.0,
        heading_deg=0.0,
    )


def count_copies(page: Any, config: Any) -> int:
    """How many copies of a place the page's ``augment`` makes beyond the first."""
    pictures = page.augment(example_pair(page.views(config)), config, np.random.default_rng(1))
    return len(pictures) - 1 if isinstance(pictures, tuple) else 0


def example_batch(views: Views, device: torch.device, more: int = 0) -> Batch:
    """Four seeded pairs of noise at the views' full size, and ``more`` copies of them."""
    rng = np.random.default_rng(2)

    def noise(height: int, width: int) -> Any:
        return rng.integers(0, 256, (4, height, width, 3), dtype=np.uint8)

    def raw(further: int) -> RawBatch:
        return RawBatch(
            ground=noise(views.ground.height_px, views.ground.width_px),
            aerial=noise(views.aerial.height_px, views.aerial.width_px),
            rows=np.arange(4),
            places=np.arange(4),
            fov_deg=np.full(4, 360.0, dtype=np.float32),
            heading_deg=np.zeros(4, dtype=np.float32),
            camera=rng.uniform(-0.5, 0.5, (4, 2)).astype(np.float32),
            more=tuple(raw(0) for _ in range(further)),
        )

    return to_batch(raw(more), views, device)


def example_table(rows: int) -> PairTable:
    """``rows`` one-to-one pairs 50 m apart on a line; the files do not exist."""
    from pathlib import Path

    latlon = np.stack([np.arange(rows) * 4.5e-4, np.zeros(rows)], axis=1)
    return PairTable(
        ground=tuple(Path(f"g{i}.jpg") for i in range(rows)),
        aerial=tuple(Path(f"a{i}.png") for i in range(rows)),
        pairs=np.stack([np.arange(rows)] * 2, axis=1),
        ignored=np.empty((0, 2), dtype=np.int64),
        ground_latlon=latlon,
        aerial_latlon=latlon.copy(),
        metres_per_px=np.full(rows, 0.5),
        up_bearing_deg=np.zeros(rows),
        heading_deg=np.zeros(rows),
        fov_deg=np.full(rows, np.nan),
        perspective=np.zeros(rows, dtype=bool),
    )


def _demand(holds: bool, name: str, complaint: str) -> None:
    if not holds:
        raise _broken(name, complaint)


def _broken(name: str, complaint: str) -> InvalidValue:
    return InvalidValue(f"The method {name} {complaint}.\nSee docs/adding-a-method.md.")
