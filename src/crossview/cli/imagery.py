"""``crossview imagery list``: open orthophotos that can be named wherever imagery is taken."""

from __future__ import annotations

from typing import Annotated

import typer

from crossview.cli import console

imagery = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Show open imagery that servers give, by names that every verb takes.",
)


@imagery.callback()
def group() -> None:
    """Show open imagery that servers give, by names that every verb takes."""


@imagery.command(name="list")
def list_(
    country: Annotated[
        list[str] | None,
        typer.Option("--country", help="Two letters, such as CH; repeatable."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, with every column.")] = False,
) -> None:
    """Show the table of open sources: licence, attribution, resolution, date and address.

    Nothing is fetched. The addresses were not opened when the table was made.
    """
    import json

    from crossview.imagery.addresses import NOT_OPENED, choose_open_sources

    sources = choose_open_sources(country or ())
    if json_:
        rows = [source.to_json() for source in sources]
        console.print_result(json.dumps({"note": NOT_OPENED, "sources": rows}, indent=2))
        return
    for source in sources:
        fine = f"{source.resolution_m:g} m per pixel" if source.resolution_m else "not known"
        lines = {
            f"{source.name}": f"{source.country}  {source.title}",
            "licence": f"{source.licence}  {source.licence_url}",
            "attribution": source.attribution,
            "resolution": f"{fine}; {source.date}",
            "address": source.written,
            "token": f"needed, in the environment variable {source.token}" if source.token else "",
            "taken": f"{source.read_on} from {source.read_from}",
            "checked": source.checked,
        }
        for index, (name, text) in enumerate(lines.items()):
            if text:
                console.print_result(f"{name}  {text}" if index == 0 else f"  {name:<12}{text}")
        console.print_result("")
    console.print_result(NOT_OPENED)
