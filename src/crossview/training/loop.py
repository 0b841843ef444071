"""The loop: a generator of step reports. Whoever consumes it logs, saves, validates or stops.

From one batch to gradients: the whole objective at once, or its two halves in chunks.

Gradient caching (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup", RepL4NLP 2021): all pictures are encoded without keeping activations, the loss is
differentiated with respect to the vectors, then each chunk is encoded again and its vectors'
gradients are sent through it. The gradients are those of the whole batch, as long as no layer mixes
pictures of a batch (batch norm does); the memory is that of a chunk, the price one more forward
pass. Written from the paper.

Two passes (``rho`` of the recipe, ``networks.asam``): the batches of a step are gone through again
at the worst weights nearby, in chunks if the first pass was, and their gradients make the step. The
second pass draws what the first drew (dropout) and leaves nothing but gradients: losses, vectors
and statistics of batch norms are those of the weights themselves.

A game (``play`` of a page): parts that are trained against each other, such as a generator and its
discriminator. A step is one turn of every player, and a turn moves the weights of its player alone,
by the losses of that turn; later turns see them moved.

Several ranks (``training.ranks``) cut a batch as chunks do, but across processes: each encodes its
part, and the vectors of all are contrasted.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from crossview.arrays import I64
from crossview.errors import InvalidValue, TrainingFailed
from crossview.networks import asam
from crossview.networks.losses import AERIAL, GROUND, GROUND_2
from crossview.pairs.batch import Batch, RawBatch, TrainingProgress, Views, to_batch
from crossview.pairs.loading import Loader
from crossview.pairs.table import PairTable
from crossview.training.contract import Method, TrainingRecipe, find_players, in_halves, is_game
from crossview.training.device import autocast
from crossview.training.ranks import ALONE, TrainingRanks
from crossview.training.train_state import TrainState

Vectors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is differentiated, and how."""

    page: Any
    config: Any
    amp: bool = True
    chunk: int = 0  # pairs encoded at a time; 0: all
    share: float = 1.0  # of the loss: 1 / batches per optimiser step
    ranks: TrainingRanks = ALONE  # whose vectors are contrasted together


@dataclass(frozen=True)
class BackwardPass:
    """Losses by name, "loss" their sum; vectors of all ranks by name where the page tells them."""

    losses: dict[str, float]
    vectors: Vectors


def backward(model: nn.Module, batch: Batch, objective: Objective) -> BackwardPass:
    """Add the gradients of one batch to the parameters' ``grad``.

    Raises InvalidValue where chunks are asked of a page without halves.
    """
    device = batch.ground.device
    halves = in_halves(objective.page)
    if objective.chunk and not halves:
        raise InvalidValue(
            "chunk needs a method that offers encode and contrast; use chunk=0.\n"
            "See docs/adding-a-method.md."
        )
    if objective.chunk and objective.chunk < len(batch):
        return _backward_in_chunks(model, batch, objective)
    vectors: Vectors = {}
    with autocast(device, objective.amp):
        if halves:
            own = objective.page.encode(model, batch, objective.config)
            vectors = objective.ranks.gather(own)
            losses = objective.page.contrast(model, vectors, objective.config)
        else:
            losses = objective.page.objective(model, batch, objective.config)
    total = _total(losses)
    (total * objective.share).backward()  # type: ignore[no-untyped-call]
    return BackwardPass(_numbers(total, losses), {k: v.detach() for k, v in vectors.items()})


def _backward_in_chunks(model: nn.Module, batch: Batch, objective: Objective) -> BackwardPass:
    seed = torch.initial_seed()
    parts = list(_parts(batch, objective.chunk))
    with torch.no_grad():
        pieces = [_encode(model, part, objective, seed + n) for n, part in enumerate(parts)]
    names = list(pieces[0])
    own = {name: torch.cat([piece[name] for piece in pieces]) for name in names}
    leaves = {name: value.detach().requires_grad_() for name, value in own.items()}
    vectors = objective.ranks.gather(leaves)
    with autocast(batch.ground.device, objective.amp):
        losses = objective.page.contrast(model, vectors, objective.config)
    total = _total(losses)
    (total * objective.share).backward()  # type: ignore[no-untyped-call]
    for n, part in enumerate(parts):
        again = _encode(model, part, objective, seed + n)
        start = n * objective.chunk
        wanted = [name for name in names if leaves[name].grad is not None]
        gradients = [_slice(leaves[name].grad, start, len(part)) for name in wanted]
        torch.autograd.backward([again[name] for name in wanted], gradients)
    return BackwardPass(_numbers(total, losses), {k: v.detach() for k, v in vectors.items()})


def _encode(model: nn.Module, part: Batch, objective: Objective, seed: int) -> Vectors:
    """Vectors of a chunk; the seed makes dropout draw the same both times."""
    torch.manual_seed(seed)
    with autocast(part.ground.device, objective.amp):
        vectors: Vectors = objective.page.encode(model, part, objective.config)
    return vectors


def _parts(batch: Batch, size: int) -> Iterator[Batch]:
    for start in range(0, len(batch), size):
        yield batch.part(start, min(start + size, len(batch)))


def _slice(values: Tensor | None, start: int, count: int) -> Tensor | None:
    return None if values is None else values[start : start + count]


def _total(losses: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([value.float() for value in losses.values()]).sum()


def _numbers(total: Tensor, losses: Mapping[str, Tensor]) -> dict[str, float]:
    return {"loss": total.item(), **{name: value.item() for name, value in losses.items()}}


Miner = Callable[[TrainState], I64]


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What does not change while training."""

    method: Method
    config: Any
    recipe: TrainingRecipe
    views: Views
    table: PairTable  # the rows trained on
    device: torch.device
    mine: Miner | None = None  # similarity neighbours, called every recipe.refresh_epochs epochs
    ranks: TrainingRanks = ALONE


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One optimiser step, done."""

    step: int  # steps done, from 1
    steps: int  # steps in all
    epoch: int  # from 0
    losses: dict[str, float]  # means over the step's batches; "loss" is their sum
    lr: float
    gradient_norm: float
    pairs: int
    seconds: float  # of this step, waiting for data included
    waited_s: float  # of these, for data
    fov_deg: tuple[float, float] | None  # narrowest and widest ground picture; None: unknown


def train_steps(state: TrainState, job: TrainingJob, loader: Loader) -> Iterator[StepReport]:
    """Train until ``job.recipe.total_steps``; ``state`` is consistent whenever this yields.

    Raises TrainingFailed on a loss or gradient that is not finite; the state is then not usable,
    the last saved one is.
    """
    steps = job.recipe.total_steps(len(job.table))
    stream = _stream(state, job, loader)
    state.model.train()
    while state.step < steps:
        yield _step(state, job, stream, steps)


def _step(
    state: TrainState, job: TrainingJob, stream: Iterator[RawBatch], steps: int
) -> StepReport:
    begun, waited, pairs = time.perf_counter(), 0.0, 0
    seed = job.recipe.seed * 1_000_003 + state.step
    torch.manual_seed(job.ranks.seed(seed))  # nothing to save for a resume
    lr = job.recipe.lr_at(state.step, len(job.table))
    for group in state.optimiser.param_groups:
        group["lr"] = lr * group["rate"]
    state.optimiser.zero_grad(set_to_none=True)
    sums: dict[str, float] = {}
    fovs: list[float] = []
    again: list[_Given] = []
    for number in range(job.recipe.accumulate):
        asked = time.perf_counter()
        with job.ranks.sharing_errors():
            raw = next(stream)
        waited += time.perf_counter() - asked
        pairs += len(raw.rows) * job.ranks.count
        fovs += [fov for one in (raw, *raw.more) for fov in one.fov_deg.tolist()]
        given = _Given(raw, _config_now(state, job))
        if job.recipe.rho or is_game(job.method):
            again.append(given)
        if is_game(job.method):
            continue
        if job.recipe.rho:
            torch.manual_seed(job.ranks.seed(seed + number))
        passed = _backward(state, job, given)
        _remember(state, job, raw, passed.vectors)
        _add_share(sums, passed.losses, job.recipe)
    if is_game(job.method):
        norm = _play(state, job, again, sums)
    else:
        job.ranks.average_gradients(state.model.parameters())
        if job.recipe.rho:
            _pass_again(state, job, again, seed)
            job.ranks.average_gradients(state.model.parameters())
        norm = _move(state, job.recipe, sums)
    state.step += 1
    state.average(job.recipe.ema_decay)
    return StepReport(
        step=state.step,
        steps=steps,
        epoch=state.epoch,
        losses=sums,
        lr=lr,
        gradient_norm=norm,
        pairs=pairs,
        seconds=time.perf_counter() - begun,
        waited_s=waited,
        fov_deg=_ends(job.ranks, [fov for fov in fovs if math.isfinite(fov)]),
    )


@dataclass(frozen=True)
class _Given:
    """A batch, and the Config that its losses are computed with."""

    raw: RawBatch
    config: Any


def _config_now(state: TrainState, job: TrainingJob) -> Any:
    """The Config of the batch that was handed out last: as it was augmented with."""
    span = job.recipe.span(len(job.table))
    progress = TrainingProgress(span=span, epoch=state.epoch, batch=state.position - 1)
    return progress.stage(job.method, job.config, job.recipe.seed)


def _add_share(sums: dict[str, float], losses: Mapping[str, float], recipe: TrainingRecipe) -> None:
    for name, value in losses.items():
        sums[name] = sums.get(name, 0.0) + value / recipe.accumulate


def _move(state: TrainState, recipe: TrainingRecipe, losses: Mapping[str, float]) -> float:
    """Clip and step; returns the gradient's norm before. TrainingFailed if it is not finite."""
    norm = _clip(state, recipe)
    if not math.isfinite(losses["loss"] + norm):
        shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        raise TrainingFailed(
            f"Step {state.step + 1}: {shown}, gradient norm {norm:.4g}; not finite.\n"
            "Try a lower --lr, a longer warm-up, or --config amp=false; "
            "the last saved state is untouched."
        )
    state.optimiser.step()
    return norm


def _ends(ranks: TrainingRanks, values: list[float]) -> tuple[float, float] | None:
    own = [min(values), max(values)] if values else []
    ends = [end for said in ranks.exchange(own) for end in said]
    return (min(ends), max(ends)) if ends else None


def _backward(state: TrainState, job: TrainingJob, given: _Given) -> BackwardPass:
    batch, recipe = to_batch(given.raw, job.views, job.device), job.recipe
    objective = Objective(
        page=job.method,
        config=given.config,
        amp=recipe.amp,
        chunk=recipe.chunk,
        share=1.0 / recipe.accumulate,
        ranks=job.ranks,
    )
    return backward(state.model, batch, objective)


def _remember(state: TrainState, job: TrainingJob, raw: RawBatch, vectors: Vectors) -> None:
    if state.memory is not None and vectors:
        query = vectors.get(GROUND_2, vectors[GROUND])  # as hard as the course is
        rows = torch.from_numpy(job.ranks.join(raw.rows))
        state.memory.note(rows, query, vectors[AERIAL])


def _pass_again(state: TrainState, job: TrainingJob, batches: list[_Given], seed: int) -> None:
    """Replace the gradients by those of the same batches at the worst weights nearby."""
    buffers = [(buffer, buffer.clone()) for buffer in state.model.buffers()]
    with asam.climb(state.optimiser, job.recipe.rho, adaptive=job.recipe.adaptive):
        for number, given in enumerate(batches):
            torch.manual_seed(job.ranks.seed(seed + number))
            _backward(state, job, given)
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)


def _play(
    state: TrainState, job: TrainingJob, batches: list[_Given], sums: dict[str, float]
) -> float:
    """One turn of every player, over all batches; adds losses to ``sums``, returns the norm.

    The norm is that of the gradients of all turns together; each turn is clipped on its own.
    """
    page: Any = job.method
    players = find_players(state.model, page, job.config)
    games = [
        page.play(state.model, to_batch(given.raw, job.views, job.device), given.config)
        for given in batches
    ]
    norms: list[float] = []
    while True:
        state.optimiser.zero_grad(set_to_none=True)
        turns = [_take_turn(game, players, job) for game in games]
        done = [turn for turn in turns if turn is not None]
        if not done:
            break
        losses: dict[str, float] = {}
        for turn in done:
            _add_share(losses, turn, job.recipe)
        norms.append(_move(state, job.recipe, losses))
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value
    return math.hypot(*norms)


def _take_turn(
    game: Iterator[tuple[str, Mapping[str, Tensor]]],
    players: Mapping[str, list[nn.Parameter]],
    job: TrainingJob,
) -> dict[str, float] | None:
    """The next turn's losses, its gradients added to the player's weights; None after the last."""
    with autocast(job.device, job.recipe.amp):
        turn = next(game, None)
    if turn is None:
        return None
    player, losses = turn
    if player not in players:
        raise InvalidValue(
            f"there is a turn of {player!r}, who has no weights to move; those of this network are "
            f"{', '.join(players)}'s."
        )
    total = _total(losses)
    torch.autograd.backward(total / job.recipe.accumulate, inputs=players[player])
    return _numbers(total, losses)


def _clip(state: TrainState, recipe: TrainingRecipe) -> float:
    """Clip as the recipe says; returns the gradient's norm before."""
    gradients = [p for p in state.model.parameters() if p.grad is not None]
    limit = recipe.clip_norm or math.inf
    norm = float(torch.nn.utils.clip_grad_norm_(gradients, limit))
    if recipe.clip_value:
        torch.nn.utils.clip_grad_value_(gradients, recipe.clip_value)
    return norm


def _stream(state: TrainState, job: TrainingJob, loader: Loader) -> Iterator[RawBatch]:
    """Batches without end, from the state's position on; counts them as they are handed out."""
    while True:
        order = epoch_order(job, state.epoch, state.neighbours)
        _require_same_order(job, state.epoch, order)
        for raw in loader.epoch(state.epoch, order, start=state.position):
            state.position += 1
            yield raw
        state.epoch, state.position = state.epoch + 1, 0
        every = job.recipe.refresh_epochs
        if job.mine and every and state.epoch % every == 0:
            state.neighbours = job.mine(state)


def _require_same_order(job: TrainingJob, epoch: int, order: list[list[int]]) -> None:
    """That all ranks take their parts of the same batches."""
    if job.ranks.count > 1:
        digest = sha256(json.dumps(order).encode()).hexdigest()[:12]
        job.ranks.require_same({"batches": digest}, f"the batches of epoch {epoch + 1}")


def epoch_order(job: TrainingJob, epoch: int, neighbours: I64 | None) -> list[list[int]]:
    """The batches of one epoch: the same for the same seed, epoch and neighbours."""
    generator = torch.Generator().manual_seed(job.recipe.seed * 1_000_003 + epoch)
    order = list(job.method.batches(job.table, job.config, generator, neighbours))
    if not order:
        places = len(set(job.table.places().tolist()))
        raise TrainingFailed(
            f"{len(job.table)} training pairs of {places} places do not fill one batch of "
            f"{job.recipe.batch}, where no place comes twice.\n"
            "Use a smaller --batch, more pairs or a smaller --val-share."
        )
    return order
