"""What training needs of a device: memory and time per pair, and the chunk that fits."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from crossview.training.checks import copies, example_batch
from crossview.training.gradients import Objective, backward, in_halves
from crossview.training.loop import Job

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEMORY = Path("/proc/meminfo")
HEADROOM = 0.8  # of the free memory that may be planned with


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Measured on noise of the views' sizes; megabytes are NaN where the system does not tell."""

    pair_mb: float  # activations of one pair, all its looks
    fixed_mb: float  # gradients and the optimiser's moments
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


def footprint(model: nn.Module, job: Job) -> Footprint:
    """Passes of one and of three pairs; the parameters' gradients are left as they were: none."""
    batch = example_batch(job.views, job.device, copies(job.method, job.config))
    objective = Objective(page=job.method, config=job.config, amp=job.recipe.amp)

    def work(pairs: int) -> Callable[[], object]:
        return lambda: backward(model, batch.part(0, pairs), objective)

    work(2)()  # warm: gradients exist from here on
    few, many = extra_memory_mb(job.device, work(1)), extra_memory_mb(job.device, work(3))
    begun = time.perf_counter()
    work(3)()
    pair_s = (time.perf_counter() - begun) / 3
    model.zero_grad(set_to_none=True)
    weights_mb = sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6
    pair_mb, free = max((many - few) / 2, 1e-3), free_memory_mb(job.device)
    fixed_mb = 3 * weights_mb + max(few - pair_mb, 0.0)
    fits = (HEADROOM * free - fixed_mb) / pair_mb
    return Footprint(
        pair_mb=pair_mb,
        fixed_mb=fixed_mb,
        free_mb=free,
        pair_s=pair_s,
        batch=job.recipe.batch,
        chunk=_chunk(fits, job.recipe.batch) if in_halves(job.method) else job.recipe.batch,
    )


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
