"""What the full-size trainings of published recipes would take, counted without a picture.

Each recipe's network is built at its full size, and shapes are run through it, without numbers; the
lists of its data set give the steps. Nothing is trained. What is counted, and what is not:

* multiply-adds of a pair: forward through both branches, as ``crossview cost`` counts them. A step
  counts three times as many (one pass forward, two of that size back) for each copy of a place, and
  twice that with SAM. Losses, the discriminator of a game and mining are not in it.
* memory: what the branches keep for the pass back, in float32, with weights, gradients and the two
  moments of Adam. bfloat16 keeps about half of the former; gradient caching a part of it.
* hours: at the slower pace of the two full-size steps that were timed on one card
  (``docs/results/on-gpu.md``). An order of magnitude, not a promise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from crossview import catalogue
from crossview.locks import write_alone
from crossview.pairs.batch import Views
from crossview.training.contract import TrainingRecipe, count_copies
from crossview.training.cost import count_cost
from crossview.training.session import build_without_weights

PACE = 17e12  # multiply-adds a second: GeoDTR+'s step of 16 places, two copies, in 0.063 s
CARD = "one NVIDIA H100"
STEP_PASSES = 3  # one forward, and two as large back
MOMENTS = 4  # weights, their gradients, and the two moments of Adam


@dataclass(frozen=True, kw_only=True)
class RecipeBudget:
    """A recipe of a method on one data set."""

    method: str
    recipe: str
    data: str
    parameters: int
    ground_px: tuple[int, int]  # height, width
    aerial_px: tuple[int, int]
    macs: int  # of a pair, forward
    looks: int  # passes of a pair in a step: copies of a place, twice with SAM
    batch: int
    memory_gb: float  # of a whole batch
    pairs: int  # to train on; 0: its lists do not state it
    steps: int  # 0: not known

    @property
    def training_macs(self) -> float:
        """Multiply-adds of the whole training."""
        return float(STEP_PASSES * self.macs * self.looks * self.batch * self.steps)

    @property
    def hours(self) -> float:
        """On the card that was timed."""
        return self.training_macs / PACE / 3600.0

    def __str__(self) -> str:
        """One line, as a note."""
        return (
            f"{self.method} {self.recipe} on {self.data}: {self.parameters / 1e6:.1f} M parameters,"
            f" {self.macs / 1e9:.1f} G multiply-adds a pair, {self.steps} steps"
        )


def count_recipes(method: str, recipes: Sequence[str] = ()) -> Iterator[RecipeBudget]:
    """The budgets of a method's recipes (all for none), one for each data set that each is for.

    A recipe for no official data set, such as that of a packaged model, is left out.
    """
    for name in recipes or catalogue.recipes(method):
        if list_data_sets(name):
            yield from _count_recipe(method, name)


def _count_recipe(method: str, name: str) -> Iterator[RecipeBudget]:
    ref, config = catalogue.configure(method, catalogue.recipe(method, name))
    page, recipe = ref.load(), TrainingRecipe.of(config)
    with torch.device("meta"):  # shapes alone: no numbers are drawn
        views, model = page.views(config), build_without_weights(page, config)
    parameters = sum(p.numel() for p in model.parameters())
    copies = 1 + count_copies(page, config)
    looks = copies * (2 if recipe.rho else 1)
    cost = count_cost(model, views)
    kept = copies * measure_activations(model, views)
    for data in list_data_sets(name):
        pairs = catalogue.benchmark(data).counts()["train"].pairs
        yield RecipeBudget(
            method=method,
            recipe=name,
            data=data,
            parameters=parameters,
            ground_px=(views.ground.height_px, views.ground.width_px),
            aerial_px=(views.aerial.height_px, views.aerial.width_px),
            macs=cost.macs,
            looks=looks,
            batch=recipe.batch * recipe.accumulate,
            memory_gb=(recipe.batch * kept + 4 * MOMENTS * parameters) / 1e9,
            pairs=pairs,
            steps=recipe.total_steps(pairs) if pairs or recipe.steps else 0,
        )


def list_data_sets(recipe: str) -> tuple[str, ...]:
    """The official data sets that a recipe trains on: both areas of "vigor", one of "cvusa-90".

    None: it is for other data.
    """
    names = [data for data in catalogue.BENCHMARKS if f"{recipe}-".startswith(f"{data}-")]
    if names:
        return (max(names, key=len),)
    family = recipe.partition("-")[0]
    if family == "vigor":
        return ("vigor-same", "vigor-cross")
    found = [data for data in catalogue.BENCHMARKS if data.startswith(f"{family}-")]
    return (min(found, key=len),) if found else ()


def measure_activations(model: nn.Module, views: Views) -> float:
    """Bytes that both branches keep of one pair for the pass back, in float32.

    ``model`` is on the meta device. What two operations keep alike counts once.
    """
    own = {id(p) for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        base = tensor if tensor._base is None else tensor._base
        if id(base) not in own:
            kept[id(base)] = base
        return tensor

    model.requires_grad_().train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        for side, spec in (("ground", views.ground), ("aerial", views.aerial)):
            two = torch.empty(2, 3, spec.height_px, spec.width_px, device="meta")
            getattr(model, side)(two)  # norms over a batch want more than one
    return sum(float(t.numel() * t.element_size()) for t in kept.values()) / 2.0


HEAD = (
    "method", "recipe", "data", "parameters, M", "ground, aerial px", "G multiply-adds a pair",
    "passes of a pair", "batch", "memory of a batch, GB", "pairs", "steps", "hours",
)  # fmt: skip


def write_budgets(budgets: Sequence[RecipeBudget], page: Path) -> Path:
    """Write them as a Markdown table; returns ``page``."""
    text = "\n".join([
        "# The field at full size: what each recipe would take",
        "",
        "Counted, not trained: every network is built at its full size, and shapes are run through",
        "it. *Passes of a pair*: copies of a place, doubled by",
        "sharpness-aware minimisation. *Memory*: of a whole batch in float32, with weights,",
        f"gradients and moments. *Hours*: on {CARD}, at the {PACE / 1e12:.0f} T multiply-adds a",
        "second of the slower of [two steps that were timed](on-gpu.md); three times the forward",
        "pass; without losses, discriminators and mining. An order of magnitude.",
        "A recipe for no official data set, as that of compass, is not here.",
        "",
        _line(HEAD),
        _line(["---"] * len(HEAD)),
        *(_line(_cells(budget)) for budget in budgets),
        "",
        "Made by `crossview study field --dry-run --recipes`.",
        "",
    ])  # fmt: skip
    page.parent.mkdir(parents=True, exist_ok=True)
    write_alone(page, text, "crossview study")
    return page


def _cells(budget: RecipeBudget) -> list[str]:
    (gh, gw), (ah, aw) = budget.ground_px, budget.aerial_px
    unknown = "not stated"
    return [
        f"`{budget.method}`",
        budget.recipe,
        budget.data,
        f"{budget.parameters / 1e6:.1f}",
        f"{gh} x {gw}, {ah} x {aw}",
        f"{budget.macs / 1e9:.2f}",
        str(budget.looks),
        str(budget.batch),
        f"{budget.memory_gb:.1f}",
        f"{budget.pairs:,}" if budget.pairs else unknown,
        f"{budget.steps:,}" if budget.steps else unknown,
        _round(budget.hours) if budget.steps else unknown,
    ]


def _round(hours: float) -> str:
    """Two figures are more than is known."""
    digits = max(0, 1 - math.floor(math.log10(hours)))
    return f"{hours:.{digits}f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
