"""``crossview import``: a published checkpoint becomes a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossview.cli import console
from crossview.cli.settings import settings

if TYPE_CHECKING:
    from crossview.pairs.batch import Views

LICENCE = "weights: none stated by their authors unless you know better; pictures: as the data set"


def importing(
    method: Annotated[str, typer.Argument(help="Name of the method that the file belongs to.")],
    file: Annotated[Path, typer.Argument(help="The authors' checkpoint: pth, pt, safetensors.")],
    trained_on: Annotated[
        str,
        typer.Option(help="Data that the weights saw: cvusa, cvact, vigor-same..., or pairs:FILE."),
    ],
    out: Annotated[Path, typer.Option(help="Run folder to write; new or empty.")],
    config: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the method's Config; repeatable.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Of the weights, if you know it.")] = LICENCE,
) -> None:
    """Read the authors' own weights into a method, ready for export and evaluate.

    Code inside the file never runs. The run records what the weights saw: the settings are those
    published for that data, its pictures' metres and angles those of the data set.
    """
    from crossview import wiring
    from crossview.pairs.framing import framed, note_of
    from crossview.training.checks import check_names
    from crossview.training.importing import (
        our_tensors,
        read_checkpoint,
        record_of,
        shown_settings,
        write_run,
    )

    method = wiring.method_name(method)
    ref = wiring.method_page(method)
    page = ref.load()
    check_names(page, method)
    seen = wiring.trained_on(method, trained_on)
    checkpoint = read_checkpoint(file)
    known = {**(seen.published or {}), **shown_settings(page, checkpoint), **settings(config)}
    made = wiring.make_config(page, known)
    weights = our_tensors(page, checkpoint, made)
    info = {
        "synthetic": seen.synthetic,
        "training_data": seen.name,
        "licence": licence,
        "notes": f"imported from {file.name}, sha256 {checkpoint.sha256[:12]}",
    }
    views = page.views(made)
    note = note_of(views, seen.framing)
    record = record_of(method, made, checkpoint, seen.name, note)
    if ref.digest:
        record["page"] = ref.digest
    write_run(out, record, info, weights)
    if seen.published is None:
        console.warn(
            f"{method} has no published settings for {seen.name}; its own defaults and what "
            "the file shows decide, and --config."
        )
    _tell(framed(views, seen.framing), len(weights))
    console.result(str(out))


def _tell(views: Views, tensors: int) -> None:
    ground, aerial = views.ground, views.aerial
    low, high = views.fov_seen_deg
    seen = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    span, width = ground.elevation_deg, "unknown metres across"
    angles = "of unknown elevation" if span is None else f"{span[0]:g} to {span[1]:g} degrees up"
    if aerial.footprint_m is not None:
        width = f"{aerial.footprint_m:g} m across, {aerial.metres_per_px:.2g} m per pixel"
    console.note(
        f"{tensors} tensors, all of them. The weights saw panoramas of {ground.width_px} x "
        f"{ground.height_px} pixels, {seen} degrees wide, headings "
        f"{views.headings_seen}, {angles}; aerial views of {aerial.width_px} x {aerial.height_px} "
        f"pixels{' (unrolled)' * aerial.polar}, {width}."
    )
