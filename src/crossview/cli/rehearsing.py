"""``crossview train --dry-run``: what a training would need of this device."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossview.cli import console

if TYPE_CHECKING:
    from crossview.training.footprint import Footprint
    from crossview.training.loop import StepReport
    from crossview.training.session import Session

LONG_STEP_S = 30.0  # from here on one step is tried, not three


def rehearse(request: Any, announce: Any) -> None:
    """Build everything in a temporary folder, train three steps, tell memory and hours."""
    from crossview.pairs.loading import Loader
    from crossview.training.footprint import footprint
    from crossview.training.loop import train_steps
    from crossview.training.setup import prepare, start_state

    with tempfile.TemporaryDirectory() as folder:
        session = prepare(replace(request, out=Path(folder), cache=None))
        state = start_state(session)
        announce(session, state)
        needs = footprint(state.model, session.job)
        if needs.chunk and needs.chunk < needs.batch and not session.job.recipe.chunk:
            recipe = replace(session.job.recipe, chunk=needs.chunk)
            session = replace(session, job=replace(session.job, recipe=recipe))
        count = 3 if needs.step_s < LONG_STEP_S else 1
        with Loader(session.reader, request.workers) as loader:
            steps = train_steps(state, session.job, loader)
            reports = [report for report, _ in zip(steps, range(count), strict=False)]
    _tell(needs, reports[-1], session)


def _tell(needs: Footprint, last: StepReport, session: Session) -> None:
    from crossview.training.precision import peak_memory_mb

    hours = last.steps * last.seconds / 3600
    whole = f"{60 * hours:.0f} minutes" if hours < 3 else f"{hours:.1f} hours"
    console.result(
        f"loss {last.losses['loss']:.3f}; {last.pairs / last.seconds:.1f} pairs/s "
        f"({100 * last.waited_s / last.seconds:.0f} % waiting for data); "
        f"peak memory {peak_memory_mb(session.job.device):.0f} MB; "
        f"the whole training about {whole}."
    )
    console.result(
        f"a batch of {needs.batch} needs about {needs.batch_mb:.0f} MB beside the weights "
        f"({needs.pair_mb:.0f} MB a pair), {needs.free_mb:.0f} MB are free: {_advice(needs)}"
    )


def _advice(needs: Footprint) -> str:
    if needs.chunk >= needs.batch:
        return "it fits."
    if not needs.chunk:
        return "not even one pair fits; use a smaller network or smaller pictures."
    return f"use --config chunk={needs.chunk} (tried here), for the same gradients."
