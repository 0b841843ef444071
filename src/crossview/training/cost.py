"""What a network costs: parameters, multiply-adds, time and memory per pair.

Multiply-adds are counted by running shapes through the network (``torch.utils.flop_counter``, half
its FLOP): convolutions and matrix products, attention included; norms and activations are not.

What training needs of a device: memory and time per pair, and the chunk that fits.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from crossview.pairs.batch import Views
from crossview.training.contract import count_copies, example_batch, in_halves
from crossview.training.device import autocast
from crossview.training.loop import Objective, TrainingJob, backward
from crossview.views.spec import ViewSpec

ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class BranchCost:
    """One side; ``trunk_*`` is the backbone alone, 0 where the branch does not name it."""

    side: str
    height_px: int
    width_px: int
    parameters: int
    macs: int  # multiply-adds for one picture
    trunk_parameters: int = 0
    trunk_macs: int = 0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A pair; parameters that both branches use count once."""

    ground: BranchCost
    aerial: BranchCost
    shared: bool
    common: int = 0  # parameters of both branches that are not ``shared`` as a whole

    @property
    def parameters(self) -> int:
        """Of the whole network that embeds."""
        own = 0 if self.shared else self.aerial.parameters - self.common
        return self.ground.parameters + own

    @property
    def macs(self) -> int:
        """Multiply-adds for one pair."""
        return self.ground.macs + self.aerial.macs

    @property
    def trunk_parameters(self) -> int:
        """Of the backbones alone."""
        return self.ground.trunk_parameters + (0 if self.shared else self.aerial.trunk_parameters)

    @property
    def trunk_macs(self) -> int:
        """Multiply-adds of the backbones alone for one pair."""
        return self.ground.trunk_macs + self.aerial.trunk_macs


def count_cost(model: nn.Module, views: Views) -> Cost:
    """Count; ``model`` is moved to the meta device and is of no more use afterwards."""
    shadow = model.to("meta").eval()
    shared = bool(getattr(model, "shared", False))
    specs = (views.ground, views.aerial)
    used = [_list_used(shadow, spec) for spec in specs]
    both = [] if shared else [used[0][key] for key in set(used[0]) & set(used[1])]
    common = sum(parameter.numel() for parameter in both)
    ground, aerial = (_branch(shadow, spec, own) for spec, own in zip(specs, used, strict=True))
    return Cost(ground=ground, aerial=aerial, shared=shared, common=common)


def _list_used(shadow: nn.Module, spec: ViewSpec) -> dict[int, nn.Parameter]:
    """The parameters of a branch, by identity.

    Branches that are functions of their network may share parts of it: theirs are the parameters
    that the vector depends on.
    """
    branch: Any = getattr(shadow, spec.side)
    if isinstance(branch, nn.Module) or getattr(shadow, "shared", False):
        module: nn.Module = branch if isinstance(branch, nn.Module) else shadow
        return {id(p): p for p in module.parameters()}
    parameters = list(shadow.requires_grad_().parameters())
    vector = branch(torch.empty(1, 3, spec.height_px, spec.width_px, device="meta"))
    gradients = torch.autograd.grad(vector.sum(), parameters, allow_unused=True)
    return {id(p): p for p, g in zip(parameters, gradients, strict=True) if g is not None}


def seconds_per_pair(model: nn.Module, views: Views, *, amp: bool) -> float:
    """Median of five pairs embedded one by one, after one that does not count."""
    device = next(model.parameters()).device
    pictures = {
        side: torch.rand(1, 3, spec.height_px, spec.width_px, device=device)
        for side, spec in (("ground", views.ground), ("aerial", views.aerial))
    }
    model.eval()
    taken = []
    with torch.no_grad(), autocast(device, amp):
        for _ in range(ROUNDS + 1):
            begun = time.perf_counter()
            for side, picture in pictures.items():
                _ready(getattr(model, side)(picture))
            taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def _branch(shadow: nn.Module, spec: ViewSpec, used: dict[int, nn.Parameter]) -> BranchCost:
    branch: Any = getattr(shadow, spec.side)
    module: nn.Module = branch if isinstance(branch, nn.Module) else shadow
    picture = torch.empty(1, 3, spec.height_px, spec.width_px, device="meta")
    trunk = getattr(module, "trunk", None)
    return BranchCost(
        side=spec.side,
        height_px=spec.height_px,
        width_px=spec.width_px,
        parameters=sum(parameter.numel() for parameter in used.values()),
        macs=_macs(branch, picture),
        trunk_parameters=_parameters(trunk) if trunk is not None else 0,
        trunk_macs=_macs(trunk, picture) if trunk is not None else 0,
    )


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _macs(function: Any, picture: torch.Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        function(picture)
    return int(counter.get_total_flops() // 2)


def _ready(vectors: torch.Tensor) -> None:
    """Wait for a device that computes behind our back."""
    if vectors.device.type == "cuda":
        torch.cuda.synchronize(vectors.device)


STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEMORY = Path("/proc/meminfo")
HEADROOM = 0.8  # of the free memory that may be planned with


@dataclass(frozen=True, kw_only=True)
class TrainingFootprint:
    """Measured on noise of the views' sizes; megabytes are NaN where the system does not tell."""

    pair_mb: float  # activations of one pair, all its looks
    fixed_mb: float  # gradients, the optimiser's moments, and weights kept aside by SAM
    free_mb: float
    pair_s: float
    batch: int
    chunk: int  # largest power of two, or the whole batch, that fits; 0: not even one pair

    @property
    def step_s(self) -> float:
        """Of one batch; chunks cost a second forward pass, a third more."""
        again = 1.0 if self.chunk >= self.batch else 4.0 / 3.0
        return self.pair_s * self.batch * again

    @property
    def batch_mb(self) -> float:
        """Of a whole batch without chunks."""
        return self.fixed_mb + self.batch * self.pair_mb


def measure_footprint(model: nn.Module, job: TrainingJob) -> TrainingFootprint:
    """Passes of one and of three pairs; the parameters' gradients are left as they were: none."""
    batch = example_batch(job.views, job.device, count_copies(job.method, job.config))
    objective = Objective(page=job.method, config=job.config, amp=job.recipe.amp)

    def work(pairs: int) -> Callable[[], object]:
        return lambda: backward(model, batch.part(0, pairs), objective)

    work(2)()  # warm: gradients exist from here on
    few, many = extra_memory_mb(job.device, work(1)), extra_memory_mb(job.device, work(3))
    begun = time.perf_counter()
    work(3)()
    passes = 2 if job.recipe.rho else 1
    pair_s = passes * (time.perf_counter() - begun) / 3
    model.zero_grad(set_to_none=True)
    weights_mb = sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6
    pair_mb, free = max((many - few) / 2, 1e-3), free_memory_mb(job.device)
    fixed_mb = (2 + passes) * weights_mb + max(few - pair_mb, 0.0)
    fits = (HEADROOM * free - fixed_mb) / pair_mb
    return TrainingFootprint(
        pair_mb=pair_mb,
        fixed_mb=fixed_mb,
        free_mb=free,
        pair_s=pair_s,
        batch=job.recipe.batch,
        chunk=_chunk(fits, job.recipe.batch) if _has_chunks(job) else job.recipe.batch,
    )


def _has_chunks(job: TrainingJob) -> bool:
    """Whether a page lets its pairs be encoded a few at a time."""
    return in_halves(job.method) and hasattr(job.config, "chunk")


def extra_memory_mb(device: torch.device, work: Callable[[], object]) -> float:
    """Peak memory during ``work`` above what is held before it; NaN where nothing tells it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = float(torch.cuda.memory_allocated(device))
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    _give_back_freed()
    try:
        CLEAR.write_text("5", encoding="ascii")  # Linux: forget the former peak of this process
    except OSError:
        work()
        return float("nan")
    before = _kilobytes(STATUS, "VmRSS")
    work()
    return (_kilobytes(STATUS, "VmHWM") - before) / 1e3


def _give_back_freed() -> None:
    """Memory that was freed but kept by glibc would count as held before; others keep none."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def free_memory_mb(device: torch.device) -> float:
    """What could be allocated now; NaN where the system does not tell."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0] / 1e6)
    try:
        return _kilobytes(MEMORY, "MemAvailable") / 1e3
    except OSError:
        return float("nan")


def _chunk(fits: float, batch: int) -> int:
    if not fits < batch:  # also where memory is not known
        return batch
    return 1 << (int(fits).bit_length() - 1) if fits >= 1 else 0


def _kilobytes(file: Path, name: str) -> float:
    for line in file.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return float(line.split()[1]) * 1.024
    return float("nan")
