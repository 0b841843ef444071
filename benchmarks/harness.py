"""Candidates measured in turns, so that a busy machine is busy for all of them; one JSON line."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossview.stats import cluster_interval


@dataclass
class Timings:
    """Seconds of every round of one candidate: on the clock, and of all cores together."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    @property
    def median_wall_s(self) -> float:
        """The middle round on the clock."""
        return statistics.median(self.wall_s)

    @property
    def median_cpu_s(self) -> float:
        """The middle round in seconds of processor time, child processes included."""
        return statistics.median(self.cpu_s)

    def seconds_on(self, device: str) -> list[float]:
        """What a step costs there: processor time on a CPU, time on the clock on a GPU."""
        return self.cpu_s if device == "cpu" else self.wall_s


def interleaved(
    candidates: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: int = 1
) -> dict[str, Timings]:
    """Run every candidate once per round, each round beginning with another one.

    The ``warm_up`` rounds before them are not counted.
    """
    names = list(candidates)
    timings = {name: Timings() for name in names}
    for turn in range(-warm_up, rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            wall_s, cpu_s = timed(candidates[name])
            if turn >= 0:
                timings[name].wall_s.append(wall_s)
                timings[name].cpu_s.append(cpu_s)
    return timings


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds (wall, cpu) of one call; cpu counts all threads and the child processes it ended."""
    cpu, wall = _cpu_s(), time.perf_counter()
    work()
    return time.perf_counter() - wall, _cpu_s() - cpu


def report(
    *,
    name: str,
    ratios: Mapping[str, float],
    n: int,
    threads: int,
    medians: Mapping[str, float] | Mapping[str, Timings],
    **more: object,
) -> None:
    """Print one JSON object as the last line.

    ``ratios``: ours against each peer, larger is better for us, keys like ``vs_pillow``, or
    ``fast_vs_pillow`` where there are several of ours.
    ``n``: how many items or rounds a median rests on. ``medians``: the raw figures, either plain
    numbers or what :func:`interleaved` gave.
    """
    if bad := [key for key in ratios if "_vs_" not in f"_{key}"]:
        raise ValueError(f"ratios are named vs_PEER, got {bad}.")
    line = {
        "name": name,
        "ratios": {key: _short(value) for key, value in ratios.items()},
        "n": n,
        "threads": threads,
        "medians": {key: _plain(value) for key, value in medians.items()},
        **more,
    }
    sys.stderr.flush()
    print(json.dumps(line), flush=True)


def measure_share(hits: ArrayLike, clusters: ArrayLike) -> dict[str, float]:
    """The share of ``hits`` [n], with its 95 % interval over ``clusters`` [n], mostly towns."""
    flags = np.asarray(hits, np.float64)
    low, high = cluster_interval(flags, np.asarray(clusters))
    return {"value": float(flags.mean()), "low": low, "high": high, "n": len(flags)}


def format_share(share: Mapping[str, float]) -> str:
    """A share in per cent, with its interval; a dash where nothing was measured."""
    if share.get("n") == 0:
        return "-"
    value, low, high = (100.0 * share[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def _plain(value: float | Timings) -> object:
    if isinstance(value, Timings):
        return {"wall_s": _short(value.median_wall_s), "cpu_s": _short(value.median_cpu_s)}
    return _short(value)


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _cpu_s() -> float:
    return sum(os.times()[:4])


def finished(work: Callable[[], object], device: Any) -> Callable[[], object]:
    """``work``, and the end of all that it started on the torch ``device``: GPUs run behind."""
    if device.type != "cuda":
        return work
    import torch

    def waiting() -> object:
        result = work()
        torch.cuda.synchronize(device)
        return result

    return waiting


def ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """How many times faster ours is: the median of the peer's seconds per ours, round by round."""
    return statistics.median(p / o for o, p in zip(ours, peer, strict=True))
