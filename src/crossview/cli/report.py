"""``crossview report``: evaluations as one page, with tables, charts, galleries and maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossview.cli import console


def report(
    records: Annotated[
        list[Path], typer.Argument(help="Folders that crossview evaluate made, or folders of them.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write report.html and its numbers to.")],
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="A calibrated index, or what crossview calibrate --out wrote."),
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Evaluation report",
    seed: Annotated[int, typer.Option(help="Seed of resampling and permutation.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> None:
    """Write evaluations as one self-contained page beside published figures; JSON, CSV, LaTeX."""
    from datetime import UTC, datetime

    from crossview.evaluation.evaluation_record import open_records
    from crossview.reports.report_page import ReportFacts, write_report
    from crossview.reports.trust import read_calibrations

    opened = open_records(records)
    console.note(f"{len(opened)} records.", quiet=quiet)
    created = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    calibrations = read_calibrations(calibration or [])
    about = ReportFacts(title=title, created=created, seed=seed)
    console.print_result(str(write_report(opened, out, about, calibrations)))
