"""``crossview import``: a published checkpoint becomes a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossview.cli import console
from crossview.cli.settings import settings

if TYPE_CHECKING:
    from crossview.training.importing import Checkpoint

LICENCE = "weights: none stated by their authors unless you know better; pictures: as the data set"


def importing(
    method: Annotated[str, typer.Argument(help="Name of the method that the file belongs to.")],
    file: Annotated[Path, typer.Argument(help="The authors' checkpoint: pth, pt, safetensors.")],
    trained_on: Annotated[
        str, typer.Option(help="Data that the weights saw: cvusa, cvact, vigor-same, or words.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder to write; new or empty.")],
    config: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the method's Config; repeatable.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Of the weights, if you know it.")] = LICENCE,
) -> None:
    """Read the authors' own weights into a method, ready for export and evaluate.

    Code inside the file never runs. The run records what the weights saw.
    """
    from crossview import wiring
    from crossview.training.checks import check_names
    from crossview.training.importing import our_tensors, read_checkpoint, record_of, write_run

    page = wiring.method_page(method).load()
    check_names(page, method)
    checkpoint = read_checkpoint(file)
    known = _published(method, page, trained_on, checkpoint) | settings(config)
    made = wiring.make_config(page, known)
    weights = our_tensors(page, checkpoint, made)
    info = {
        "synthetic": trained_on.lower().startswith(("town:", "synthetic")) or trained_on == "town",
        "training_data": trained_on,
        "licence": licence,
        "notes": f"imported from {file.name}, sha256 {checkpoint.sha256[:12]}",
    }
    write_run(out, record_of(method, made, checkpoint, trained_on), info, weights)
    _tell(page.views(made), made, len(weights))
    console.result(str(out))


def _published(method: str, page: Any, trained_on: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """The published settings for that data, and over them what the file itself shows."""
    from crossview import wiring
    from crossview.training.importing import shown_settings

    known = wiring.recipes(method)
    name = trained_on if trained_on in known else trained_on.partition("-")[0]
    return known.get(name, {}) | shown_settings(page, checkpoint)


def _tell(views: Any, config: Any, tensors: int) -> None:
    ground, aerial = views.ground, views.aerial
    low, high = views.fov_seen_deg
    seen = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    console.note(
        f"{tensors} tensors, all of them. The weights saw panoramas of {ground.width_px} x "
        f"{ground.height_px} pixels, {seen} degrees wide, headings {views.headings_seen}; aerial "
        f"views of {aerial.width_px} x {aerial.height_px} pixels{' (unrolled)' * aerial.polar}, "
        f"{aerial.footprint_m:g} m across, {aerial.metres_per_px:.2g} m per pixel."
    )
