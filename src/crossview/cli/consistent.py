"""``crossview evaluate --consistency``: whether a trained network looks at the same things."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossview.cli import console
from crossview.cli.runs import open_run
from crossview.errors import InvalidValue
from crossview.files import atomic_write, make_folder
from crossview.locks import locked

if TYPE_CHECKING:
    from crossview.pairs.loading import Reader
    from crossview.wiring import Run

PAIRS, DRAWN, SEED = 100, 3, 0  # of the split: measured on, drawn, and the seed that draws them


def evaluate_consistency(
    run: Path, method: Path | None, data: str, split: str, out: Path | None, device: str
) -> None:
    """Print the indices beside those of random weights; with ``out`` keep them, and heat maps.

    Raises InvalidValue for a model without gradients (an exported one).
    """
    import numpy as np
    import torch

    from crossview.explain.consistency import consistency
    from crossview.training.precision import open_device
    from crossview.training.run import CONFIG_NAME
    from crossview.training.setup import build_without_weights
    from crossview.training.state import load_weights

    if not (run / CONFIG_NAME).is_file():
        raise InvalidValue(
            f"--consistency looks at gradients, which {run} does not have.\n"
            "Give a run folder of crossview train or crossview import."
        )
    opened = open_run(run, method)
    reader = _reader(data, split, opened)
    order = np.random.default_rng(SEED).permutation(len(reader.table))
    rows = [int(row) for row in order[:PAIRS]]
    torch.manual_seed(SEED)
    model = build_without_weights(opened.page, opened.config).to(open_device(device)).eval()
    untrained = consistency(model, reader, rows)
    load_weights(model, opened.folder.weights)
    trained = consistency(model, reader, rows)
    for name, index in trained.items():
        console.result(
            f"{name}: {index.value:.3f} [{index.low:.3f}, {index.high:.3f}], "
            f"random weights {untrained[name].value:.3f}"
            + (f", {100 * index.blank:.0f} % of maps blank" if index.blank else "")
        )
    console.note(f"{len(rows)} pairs; (SSIM + 1) / 2, a constant map would have 1.")
    if out is not None:
        _keep(out, model, reader, rows, {"trained": trained, "random weights": untrained})


def _reader(data: str, split: str, run: Run) -> Reader:
    from crossview import wiring
    from crossview.pairs.loading import plain_reader

    source = wiring.open_data(data)
    return plain_reader(run.shown(source.table(split), source.name), run.views, SEED)


def _keep(out: Path, model: Any, reader: Reader, rows: list[int], found: dict[str, Any]) -> None:
    from crossview.explain.attention import draw_attention

    told = {
        kind: {name: asdict(index) for name, index in indices.items()}
        for kind, indices in found.items()
    }
    record = {"pairs": len(rows), "rows": rows, "indices": told}
    with locked(out, "crossview evaluate --consistency", wait=True, make_parents=True):
        make_folder(out)
        atomic_write(out / "consistency.json", json.dumps(record, indent=2) + "\n")
        for row in rows[:DRAWN]:
            draw_attention(out / f"attention-{row}.png", model, reader, row)
    console.result(str(out))
