"""``crossview pull``, ``publish``, ``models``: models by name, to a hub and from it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossview.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crossview.hub import CardFigure, Pulled, PullRecord


def pull(
    name: Annotated[
        str, typer.Argument(help="hub:OWNER/NAME, or hub:OWNER/NAME@REVISION.", metavar="NAME")
    ],
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> None:
    """Fetch a model from a hub, check it, and show its licence.

    Only ONNX, safetensors, JSON, YAML and texts are fetched, never a pickle. Prints the name that
    --model takes, with the commit that was pulled.
    """
    from crossview.hub import parse_hub_name
    from crossview.model import pull_model

    pulled = pull_model(parse_hub_name(name), lambda text: console.note(text, quiet=quiet))
    record = pulled.record
    if not record.has_card:
        console.warn(
            f"{name} has no card (README.md): nobody says what it saw, nor under which licence."
        )
    if pulled.left:
        some = ", ".join(pulled.left[:3]) + (", ..." if len(pulled.left) > 3 else "")
        console.note(f"Not fetched: {some}.", quiet=quiet)
    if record.kind == "model":
        for line in _describe_model(pulled):
            console.note(line, quiet=quiet)
        console.print_result(record.pinned_name)
        return
    console.note(
        f"Licence: {_say_licence(record)}\n"
        "These are weights of its authors, no model folder. "
        f"{_suggest_import(pulled)}",
        quiet=quiet,
    )
    console.print_result("\n".join(map(str, pulled.list_weights())))


def publish(
    model: Annotated[str, typer.Argument(help="Model folder, packaged name, or hub:OWNER/NAME.")],
    out: Annotated[Path, typer.Option(help="Folder to write; new, or of an earlier publish.")],
    licence: Annotated[
        str, typer.Option(help="Licence of the model, such as apache-2.0; default: as it states.")
    ] = "",
    card: Annotated[
        Path | None, typer.Option(help="README.md of your own, instead of one from its facts.")
    ] = None,
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of crossview evaluate: figures for the card; repeatable."),
    ] = None,
    legal: Annotated[
        list[Path] | None, typer.Option(help="LICENSE, NOTICE or ATTRIBUTION to add; repeatable.")
    ] = None,
) -> None:
    """Write a folder to upload: the model, its card, and the sums of its files.

    Nothing is uploaded: the line that does it, with the hub's own tool, is printed. A model that
    says neither its licence nor what it was trained on is refused.
    """
    from crossview import hub
    from crossview.files import printable
    from crossview.model import MODEL_FILES, check_folder, open_model

    opened = open_model(model)
    check_folder(opened.folder)
    info = opened.info
    if card is not None:
        text = hub.read_own_card(card)
    else:
        text = hub.compose_card(
            info.to_json(),
            licence=licence or info.licence,
            fingerprint=opened.fingerprint,
            figures=[one for folder in evaluation or [] for one in _read_figures(folder)],
        )
    files = {
        name: (opened.folder / name).read_bytes()
        for name in MODEL_FILES
        if (opened.folder / name).is_file()
    }
    upload = hub.publish(files, text, out, legal=legal or [])
    console.note(f"Read {printable(str(out / hub.CARD_NAME))} before others do. To upload it:")
    console.note(f"    {upload}")
    console.print_result(str(out))


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the models here, those that were pulled, and published checkpoints that are known.

    Nothing is asked of any server.
    """
    from crossview.catalogue import list_published_weights
    from crossview.hub import list_pulled
    from crossview.model import list_packaged_models, read_info, resolve_model

    packaged = []
    for name in list_packaged_models():
        info = read_info(resolve_model(name))
        facts = {"trained_on": info.training_data, "licence": info.licence}
        packaged.append({"name": name, **facts, "caution": info.caution})
    pulled = _list_pulled_or_none(list_pulled)
    published = [
        {**asdict(one), "terms": one.terms, "import": _say_import(one.method, one.trained_on_name)}
        for one in list_published_weights()
    ]
    if as_json:
        listed = {"packaged": packaged, "pulled": pulled, "published": published}
        console.print_result(json.dumps(listed, indent=2))
    else:
        console.print_result("\n".join(_format_models(packaged, pulled, published)))


def _list_pulled_or_none(list_pulled: Any) -> list[dict[str, Any]]:
    """Records of what was pulled; without the libraries that pull, nothing was."""
    try:
        records: list[PullRecord] = list_pulled()
    except ModuleNotFoundError:
        return []
    kept = ("repository", "revision", "commit", "kind", "pulled", "endpoint")
    return [
        {
            "name": record.pinned_name,
            **{name: getattr(record, name) for name in kept},
            "licence": _say_licence(record),
            "bytes": sum(file.bytes for file in record.files),
        }
        for record in records
    ]


def _format_models(
    packaged: list[dict[str, Any]], pulled: list[dict[str, Any]], published: list[dict[str, Any]]
) -> Iterator[str]:
    yield "Packaged: --model NAME"
    for one in packaged:
        yield from _format_entry(one["name"], one, ("trained_on", "licence", "caution"))
    yield "\nPulled: --model NAME, without a network"
    for one in pulled:
        what = "model" if one["kind"] == "model" else "weights of its authors, to import"
        facts = {
            "asked for": one["revision"],
            "what": f"{what}, {console.format_size(one['bytes'])}",
        }
        yield from _format_entry(one["name"], {**one, **facts}, ("what", "asked for", "licence"))
    if not pulled:
        yield "  none; to pull one: crossview pull hub:OWNER/NAME"
    yield "\nPublished by others. Addresses were not opened from here; read the terms there:"
    for one in published:
        shown = ("address", "format", "trained_on", "terms", "import", "notes")
        yield from _format_entry(one["name"], one, shown)


def _format_entry(name: str, facts: dict[str, Any], shown: tuple[str, ...]) -> Iterator[str]:
    yield f"  {name}"
    for key in shown:
        if facts[key]:
            yield f"    {key.replace('_', ' '):11} {facts[key]}"


def _describe_model(pulled: Pulled) -> Iterator[str]:
    from crossview.model import complete_licence, read_info

    stated = read_info(pulled.folder)
    info = complete_licence(stated, pulled)
    yield f"Licence: {info.licence}"
    if pulled.record.licence and info.licence == stated.licence:
        yield f"Its card states: {pulled.record.licence}"
    yield f"Trained on: {info.training_data}"
    yield from (f"Attribution: {owner}" for owner in info.attributions)
    if info.caution:
        yield f"Made with a model {info.caution}."
    if info.limits:
        yield info.limits


def _say_licence(record: PullRecord) -> str:
    from crossview.hub import NOT_STATED

    if record.licence:
        return f"{record.licence}, as its card states"
    return f"{NOT_STATED}; none is inferred. Ask them before you build on it"


def _suggest_import(pulled: Pulled) -> str:
    """How a checkpoint that is in the table of known ones is imported."""
    from crossview.catalogue import list_published_weights
    from crossview.hub import is_hub_name, parse_hub_name

    for one in list_published_weights():
        known = one.address if is_hub_name(one.address) else ""
        if known and parse_hub_name(known).repository == pulled.record.repository:
            return f"Import them: {_say_import(one.method, one.trained_on_name)}"
    return "If a method here reads them: crossview import METHOD FILE --trained-on DATA --out RUN"


def _say_import(method: str, trained_on: str) -> str:
    """The command that imports a published checkpoint, if a page of this version reads it."""
    from crossview.catalogue import METHODS

    if method not in METHODS:
        return "no method of this version reads it"
    return f"crossview import {method} FILE --trained-on {trained_on or 'DATA'} --out RUN"


def _read_figures(folder: Path) -> Iterator[CardFigure]:
    """The figures of evaluations, with their conditions."""
    from crossview.evaluation.evaluation_record import read_all
    from crossview.hub import CardFigure

    for record in read_all(folder):
        kept = record.protocol
        fov = "drawn" if kept.fov_deg is None else f"{kept.fov_deg:g} degrees"
        damaged = f", {kept.corruption}" if kept.corruption else ""
        for figure in record.figures:
            yield CardFigure(
                # No folder of this machine: what it is called before its place.
                data=f"{record.data.partition(':')[0]}, {record.split}",
                conditions=f"{fov}, headings {kept.headings}{damaged}",
                name=figure.name,
                value=figure.value,
                low=figure.low,
                high=figure.high,
                unit=figure.unit,
                n=figure.n,
            )
