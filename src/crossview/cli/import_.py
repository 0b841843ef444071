"""``crossview import``: a published checkpoint becomes a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossview.cli import console
from crossview.errors import BadModel, UsageError
from crossview.schema import read_bytes

if TYPE_CHECKING:
    from crossview.catalogue import TrainedOn
    from crossview.pairs.batch import Views
    from crossview.training.import_weights import Checkpoint

_MOST_CONFIG_BYTES = 1_000_000
LICENCE = "weights: none stated by their authors unless you know better; pictures: as the data set"


def import_(  # noqa: PLR0913, PLR0915, PLR0917 - every parameter is an option of the verb
    method: Annotated[str, typer.Argument(help="The method that the file belongs to.")],
    file: Annotated[
        Path, typer.Argument(help="The authors' checkpoint: pth, pt, safetensors; or its folder.")
    ],
    trained_on: Annotated[
        str,
        typer.Option(help="Data that the weights saw: cvusa, cvact, vigor-same..., or pairs:FILE."),
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Run folder to write; new or empty.")] = None,
    config: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the method's Config; repeatable.")
    ] = None,
    entry: Annotated[
        str, typer.Option(help="Which dictionary of the file, if several hold weights.")
    ] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights, if you know it.")] = LICENCE,
) -> None:
    """Read the authors' own weights into a method, ready for export and evaluate.

    Code inside the file never runs. Settings are those published for the data that the weights
    saw; metres and angles of its pictures are those of the data set. It prints what was read from
    the file, and what the file does not show and was assumed.
    """
    from crossview import catalogue
    from crossview.pairs.table import frame_views, note_framing
    from crossview.training.contract import check_names
    from crossview.training.import_weights import (
        convert_tensors,
        find_settings,
        format_setting,
        group_reasons,
        list_unseen_settings,
        make_run_record,
        read_checkpoint,
        require_place,
        require_readable,
        write_run,
    )

    if out is None:
        raise UsageError("Give the run folder to write, for example: --out runs/imported")
    method = catalogue.method_name(method)
    ref = catalogue.method_page(method)
    page = ref.load()
    check_names(page, method)
    facts: dict[str, Any] = dict(getattr(page, "FACTS", {}))
    seen = _find_seen(method, trained_on, facts)
    described = _read_described(page, file) if file.is_dir() else {}
    if file.is_dir() and hasattr(page, "find_published"):
        file = page.find_published(file)
    require_place(out, file)  # before minutes of reading
    checkpoint = read_checkpoint(file, entry, catalogue.list_known_networks())
    require_readable(page, method, checkpoint)
    stated, shown = console.read_settings(config), find_settings(page, checkpoint)
    given = {**described, **stated}
    ref, values = catalogue.configure(method, {**(seen.published or {}), **shown, **given})
    page = ref.load()
    weights = convert_tensors(page, checkpoint, values)
    unseen = list_unseen_settings(page, checkpoint, given)
    assumed = {name: format_setting(name, getattr(values, name)) for name in unseen}
    notes = [f"imported from {file.name}, sha256 {checkpoint.sha256[:12]}"]
    if assumed:
        notes.append(f"not shown by that file, and assumed: {', '.join(assumed.values())}")
    if licence == LICENCE and "licence" in facts:
        licence = facts["licence"]
    info = {
        **facts,
        "synthetic": seen.synthetic,
        "training_data": seen.name,
        "licence": licence,
        "notes": "; ".join(notes),
    }
    views = page.views(values)
    note = note_framing(views, seen.framing)
    record = make_run_record(method, values, checkpoint, seen.name, note)
    if ref.digest:
        record["page"] = ref.digest
    write_run(out, record, info, weights)
    if seen.published is None:
        console.warn(
            f"{method} has no published settings for {seen.name}. Its defaults, what the file "
            "shows, and --config are used."
        )
    _print_read(
        checkpoint,
        len(weights),
        [
            format_setting(name, getattr(values, name))
            for name in shown
            if name not in {*stated, *unseen} and hasattr(values, name)
        ],
    )
    if unseen:
        groups = group_reasons({assumed[name]: reason for name, reason in unseen.items()})
        reasons = "; ".join(f"{names} ({reason})" for names, reason in groups.items())
        console.note(
            f"Not shown by the file, and set as published or as the shapes suggest: {reasons}.\n"
            "Change them with --config NAME=VALUE."
        )
    _print_seen(frame_views(views, seen.framing))
    console.print_result(str(out))


def _find_seen(method: str, trained_on: str, facts: dict[str, Any]) -> TrainedOn:
    """What the weights saw: as said, or as the method's page knows of the published ones."""
    from crossview import catalogue
    from crossview.pairs.table import Framing

    if trained_on:
        return catalogue.find_trained_on(method, trained_on)
    if "training_data" not in facts:
        raise UsageError("Say which data the weights saw, for example: --trained-on cvusa")
    return catalogue.TrainedOn(name=facts["training_data"], framing=Framing(), published={})


def _read_described(page: Any, folder: Path) -> dict[str, Any]:
    """The settings that config.yaml of a published folder states; none without the file."""
    path = folder / "config.yaml"
    if not hasattr(page, "read_published_settings") or not path.is_file():
        return {}
    import yaml

    try:
        described = yaml.safe_load(read_bytes(path, _MOST_CONFIG_BYTES))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as problem:
        raise BadModel(f"{path} cannot be read: {str(problem).splitlines()[0]}") from problem
    if not isinstance(described, dict):
        raise BadModel(f"{path} holds no settings by name.")
    settings: dict[str, Any] = page.read_published_settings(described)
    return settings


def _print_read(checkpoint: Checkpoint, tensors: int, read: list[str]) -> None:
    """What was taken from the file, and what was left in it."""
    from crossview.networks.weight_files import find_stored_type

    held = len(checkpoint.tensors)
    count = f"{tensors} tensors, all of them"
    if held > tensors:
        count = f"{tensors} of {held} tensors; these settings do not use the others"
    below = f", below {checkpoint.entry}" if checkpoint.entry else ""
    stored = find_stored_type(checkpoint.tensors)
    console.note(
        f"{count}{below}{f', stored as {stored}' * bool(stored)}. "
        f"Read from them: {', '.join(read) or 'no settings'}."
    )
    if checkpoint.others:
        console.note(
            f"The file also holds {', '.join(checkpoint.others)}, with as many tensors: --entry "
            f"{checkpoint.others[0]} takes those."
        )
    if checkpoint.unread:
        console.note(
            f"Ignored, because they are not tensors: {', '.join(checkpoint.unread)[:300]}."
        )
    if len(checkpoint.whose) > 1:
        console.note(
            f"{checkpoint.authors}: the names of their tensors are the same, so the file cannot "
            "show which it is. The method you named decides the headings and fields of view."
        )


def _print_seen(views: Views) -> None:
    ground, aerial = views.ground, views.aerial
    low, high = views.fov_seen_deg
    seen = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    span, width = ground.elevation_deg, "unknown metres across"
    if ground.representation == "letterbox":
        scales = ", ".join(f"{span / aerial.width_px:g}" for span in aerial.spans_m)
        console.note(
            f"The weights saw photos of any lens and heading, fitted into {ground.width_px} x "
            f"{ground.height_px} pixels; cells of {aerial.footprint_m:g} m, each in squares of "
            f"{aerial.width_px} pixels at {scales} m per pixel: imagery "
            f"{max(aerial.spans_m) / 2.0:.0f} m beyond every cell."
        )
        return
    angles = "of unknown elevation" if span is None else f"{span[0]:g} to {span[1]:g} degrees up"
    if aerial.footprint_m is not None:
        width = f"{aerial.footprint_m:g} m across, {aerial.metres_per_px:.2g} m per pixel"
    console.note(
        f"The weights saw panoramas of {ground.width_px} x "
        f"{ground.height_px} pixels, {seen} degrees wide, headings "
        f"{views.headings_seen}, {angles}; aerial views of {aerial.width_px} x {aerial.height_px} "
        f"pixels{' (unrolled)' * aerial.polar}, {width}."
    )
