"""A GeoDTR+ training step with CHSG against the plain loop: float32, a pass per copy.

``vs_plain``: ours computes in bfloat16 where the machine is fast at it, keeps channels last and
takes both copies of all places in one pass per view. Beside it: the memory of both, and whether the
losses after ``--loss-steps`` steps and the first gradients agree.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import finished, interleaved, ratio, report
from crossview.methods import geodtr_plus
from crossview.networks.layout_masks import Layout, LayoutBranch, LayoutNetwork, random_masks
from crossview.networks.losses import soft_margin_triplet
from crossview.pairs.batch import Batch
from crossview.training.contract import TrainingRecipe
from crossview.training.cost import extra_memory_mb
from crossview.training.device import is_fast_in_bfloat16, lay_out, open_device
from crossview.training.loop import Objective, backward
from crossview.training.train_state import make_state

SMALL = {"ground_px": (64, 256), "aerial_px": (64, 256)}


def main() -> None:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="convnext_tiny")
    parser.add_argument("--places", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--loss-steps", type=int, default=50)
    parser.add_argument("--loss-backbone", default="convnext_zepto_rms")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--small", action="store_true", help="small pictures: a trial run")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = open_device(given.device)
    config = geodtr_plus.Config(
        backbone=given.backbone, weights="none", **(SMALL if given.small else {})
    )
    batch = a_batch(config, given.places).to(device)
    steps = {name: finished(step_of(name, config, batch), device) for name in ("plain", "ours")}
    timings = interleaved(steps, given.rounds)
    seconds = {name: timing.seconds_on(device.type) for name, timing in timings.items()}
    memory = {f"{name}_mb": round(extra_memory_mb(device, step)) for name, step in steps.items()}
    losses, cosine = equality(given.loss_backbone, given.loss_steps, device)
    report(
        name="geodtr_step",
        ratios={"vs_plain": ratio(seconds["ours"], seconds["plain"])},
        n=given.rounds,
        threads=given.threads,
        medians=timings,
        backbone=given.backbone,
        places=given.places,
        pairs_with_copies=2 * given.places,
        extra_memory=memory,
        loss_after_steps={name: round(value, 4) for name, value in losses.items()},
        gradient_cosine=round(cosine, 5),
        bfloat16=is_fast_in_bfloat16(device),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    )


def a_batch(config: geodtr_plus.Config, places: int) -> Batch:
    """Noise at the Config's sizes, and as much again for the second copies."""
    draw = torch.Generator().manual_seed(0)

    def noise(size: tuple[int, int]) -> Tensor:
        images = torch.randn(places, 3, *size, generator=draw)
        return images.contiguous(memory_format=torch.channels_last)

    first = Batch(
        ground=noise(config.ground_px),
        aerial=noise(config.aerial_px),
        rows=torch.arange(places),
        places=torch.arange(places),
        fov_deg=torch.full((places,), 360.0),
        heading_deg=torch.zeros(places),
    )
    second = replace(first, ground=noise(config.ground_px), aerial=noise(config.aerial_px))
    return replace(first, more=(second,))


def step_of(name: str, config: geodtr_plus.Config, batch: Batch) -> Callable[[], float]:
    """One optimiser step of a fresh network: "plain" or "ours"."""
    torch.manual_seed(0)
    device = batch.ground.device
    model: Any = geodtr_plus.build(config).to(device)
    if name == "ours":
        model = lay_out(model, device)
    state = make_state(model, TrainingRecipe(lr=1e-4, weight_decay=0.03, decay_vectors=True))
    objective = Objective(page=geodtr_plus, config=config)

    def step() -> float:
        torch.manual_seed(state.step)  # the same counterfactual masks for both
        state.optimiser.zero_grad(set_to_none=True)
        if name == "plain":
            loss = plain_loss(model, batch, config)
            loss.backward()  # type: ignore[no-untyped-call]
            value = loss.item()
        else:
            value = backward(model, batch, objective).losses["loss"]
        state.optimiser.step()
        state.step += 1
        return value

    step.model = model  # type: ignore[attr-defined]
    return step


def plain_loss(model: LayoutNetwork, batch: Batch, config: geodtr_plus.Config) -> Tensor:
    """A pass in float32 per view and copy, and the losses, as a script would write it."""
    copies = (batch, *batch.more)
    ground = _passes(model.ground, [copy.ground for copy in copies])
    aerial = _passes(model.aerial, [copy.aerial for copy in copies])
    fakes = [random_masks(side, 0.0, 1.0, config.beta) for side in (aerial, ground)]
    return soft_margin_triplet(ground.vector, aerial.vector, config.alpha) + sum(fakes) / 2


def _passes(branch: LayoutBranch, pictures: list[Tensor]) -> Layout:
    layouts = [branch.layout(images.contiguous()) for images in pictures]
    parts = (torch.cat([getattr(x, n) for x in layouts]) for n in ("vector", "features", "masks"))
    return Layout(*parts, layouts[0].size)


def equality(backbone: str, steps: int, device: torch.device) -> tuple[dict[str, float], float]:
    """Losses after so many steps on small pictures, and the cosine of the first gradients.

    Without dropout, whose draws would differ between one pass and two.
    """
    config = geodtr_plus.Config(
        backbone=backbone, weights="none", drop_path=0.0, dropout=0.0, **SMALL
    )
    batch = a_batch(config, 16).to(device)
    losses, gradients = {}, []
    for name in ("plain", "ours"):
        step: Any = step_of(name, config, batch)
        losses[name] = step()
        found = [p.grad.flatten() for p in step.model.parameters() if p.grad is not None]
        gradients.append(torch.cat(found))
        for _ in range(steps - 1):
            losses[name] = step()
    return losses, float(torch.nn.functional.cosine_similarity(*gradients, dim=0))


if __name__ == "__main__":
    main()
