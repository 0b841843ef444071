"""A SinGeo training step against the plain loop: four passes in float32, one picture kind each.

``vs_plain``: ours computes in bfloat16 where the machine is fast at it, keeps channels last and
encodes pictures of one size in one pass. Beside it: gradient caching (one chunk at a time) against
our own step, the memory of all three, and whether the losses after ``--loss-steps`` steps agree.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness import finished, interleaved, ratio, report
from crossview.methods import singeo
from crossview.networks.losses import dual_info_nce
from crossview.pairs.batch import Batch
from crossview.training.contract import TrainingRecipe
from crossview.training.cost import extra_memory_mb
from crossview.training.device import is_fast_in_bfloat16, lay_out, open_device
from crossview.training.loop import Objective, backward
from crossview.training.train_state import make_state

SMALL = {"aerial_px": 96, "ground_px": (64, 192)}


def main() -> None:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="convnext_tiny")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--chunk", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--loss-steps", type=int, default=50)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--small", action="store_true", help="small pictures: a trial run")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = open_device(given.device)
    config = singeo.Config(
        backbone=given.backbone, weights="none", **(SMALL if given.small else {})
    )
    batch = a_batch(config, given.pairs).to(device)
    steps = {
        name: finished(step_of(name, config, batch, given.chunk), device)
        for name in ("plain", "ours", "cached")
    }
    timings = interleaved(steps, given.rounds)
    seconds = {name: timing.seconds_on(device.type) for name, timing in timings.items()}
    memory = {f"{name}_mb": round(extra_memory_mb(device, step)) for name, step in steps.items()}
    losses, cosine = equality(given.backbone, given.loss_steps, device)
    report(
        name="singeo_step",
        ratios={"vs_plain": ratio(seconds["ours"], seconds["plain"])},
        n=given.rounds,
        threads=given.threads,
        medians=timings,
        backbone=given.backbone,
        pairs=given.pairs,
        chunk=given.chunk,
        cached_over_ours=round(ratio(seconds["ours"], seconds["cached"]), 4),
        extra_memory=memory,
        loss_after_steps={name: round(value, 4) for name, value in losses.items()},
        gradient_cosine=round(cosine, 5),
        bfloat16=is_fast_in_bfloat16(device),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    )


def a_batch(config: singeo.Config, pairs: int) -> Batch:
    """Noise at the Config's sizes; the second ground pictures see 180 degrees."""
    draw = torch.Generator().manual_seed(0)
    height, width = config.ground_px

    def noise(*size: int) -> Tensor:
        images = torch.randn(pairs, 3, *size, generator=draw)
        return images.contiguous(memory_format=torch.channels_last)

    def look(columns: int) -> Batch:
        numbers = torch.arange(pairs)
        angles = {"fov_deg": torch.full((pairs,), 360.0), "heading_deg": torch.zeros(pairs)}
        side = config.aerial_px
        return Batch(
            ground=noise(height, columns),
            aerial=noise(side, side),
            rows=numbers,
            places=numbers,
            **angles,
        )

    return replace(look(width), more=(look(width // 2),))


def step_of(name: str, config: singeo.Config, batch: Batch, chunk: int) -> Callable[[], float]:
    """One optimiser step of a fresh network: "plain", "ours" or "cached"."""
    torch.manual_seed(0)
    device = batch.ground.device
    model: Any = singeo.build(config).to(device)
    if name != "plain":
        model = lay_out(model, device)
    state = make_state(model, TrainingRecipe(lr=1e-4))
    objective = Objective(page=singeo, config=config, chunk=chunk if name == "cached" else 0)

    def step() -> float:
        state.optimiser.zero_grad(set_to_none=True)
        if name == "plain":
            loss = plain_loss(model, batch, config)
            loss.backward()  # type: ignore[no-untyped-call]
            value = loss.item()
        else:
            value = backward(model, batch, objective).losses["loss"]
        state.optimiser.step()
        return value

    step.model = model  # type: ignore[attr-defined]
    return step


def plain_loss(model: nn.Module, batch: Batch, config: singeo.Config) -> Tensor:
    """Four passes in float32 and the six terms, as a script would write it."""
    second = batch.more[0]
    branches: Any = model
    vectors = {
        "ground": branches.ground(batch.ground.contiguous()),
        "ground_2": branches.ground(second.ground.contiguous()),
        "aerial": branches.aerial(batch.aerial.contiguous()),
        "aerial_2": branches.aerial(second.aerial.contiguous()),
    }
    terms = dual_info_nce(vectors, branches.logit_scale, cross=config.cross, alike=config.alike)
    return torch.stack(list(terms.values())).sum()


def equality(backbone: str, steps: int, device: torch.device) -> tuple[dict[str, float], float]:
    """Losses after so many steps on small pictures, and the cosine of the first gradients."""
    config = singeo.Config(backbone=backbone, weights="none", **SMALL)
    batch = a_batch(config, 6).to(device)
    losses, gradients = {}, []
    for name in ("plain", "ours"):
        step: Any = step_of(name, config, batch, 0)
        losses[name] = step()
        gradients.append(torch.cat([p.grad.flatten() for p in step.model.parameters()]))
        for _ in range(steps - 1):
            losses[name] = step()
    return losses, float(torch.nn.functional.cosine_similarity(*gradients, dim=0))


if __name__ == "__main__":
    main()
