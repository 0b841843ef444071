"""``crossview doctor``: what is installed, what is missing or mismatched, what can compute here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from crossview.cli import console

if TYPE_CHECKING:
    from crossview.cli.health import Health


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell versions, devices, and what is missing or mismatched; exit code 1 if something is."""
    from crossview.cli.health import examine

    health = examine()
    if as_json:
        console.result(json.dumps(health.to_json(), indent=2))
    else:
        console.result("\n".join(_lines(health)))
    if health.problems:
        raise typer.Exit(1)


def _lines(health: Health) -> Iterator[str]:
    for name, version in health.versions.items():
        yield f"{name:24} {version}"
    for group in dict.fromkeys(p.group for p in health.packages):
        yield f"\n{group}"
        for package in (p for p in health.packages if p.group == group):
            yield f"  {package.name:22} {package.version or '-':12} >= {package.least}"
        if any(p.group == group and p.version is None for p in health.packages):
            install = "crossview" if group == "required" else f"'crossview[{group}]'"
            yield f"  not complete; to have it: pip install {install}"
    yield "\ndevices"
    for name, told in health.devices.items():
        yield f"  {name:22} {told}"
    yield "\npackaged model"
    for name, told in health.model.items():
        yield f"  {name:22} {told}"
    yield ""
    yield from (f"Problem: {problem}" for problem in health.problems)
    if not health.problems:
        yield "Everything that is installed works together."
