"""Telling the places that were found: formats, map page, audit records, accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crossview.cli import console
from crossview.errors import CannotWrite, InvalidValue
from crossview.locks import write_alone
from crossview.outputs.formats import FORMATS, PAGE_ENDINGS, format_of_ending
from crossview.outputs.page import write_map
from crossview.outputs.text import to_table
from crossview.retrieval.audit import append_records, audit_record
from crossview.retrieval.hints import Hints
from crossview.retrieval.index import Index
from crossview.retrieval.places import Answer
from crossview.retrieval.truth import RANKS, summary

SHOWN = 5  # places per photo in a table


@dataclass(frozen=True, kw_only=True)
class Report:
    """Where and how to tell."""

    format: str
    places: int  # told per photo
    shown: int  # of them in a table
    accuracy: bool  # against known truth
    out: Path | None
    page: Path | None
    audit: Path | None
    quiet: bool

    @property
    def on_stdout(self) -> bool:
        """Whether people, not programs, read what stdout gets."""
        return self.format == "table" and self.out is None

    def require_writable(self) -> None:
        """Refuse, before minutes of work, files that could not be written or would be wrong."""
        if self.format == "kmz" and self.out is None:
            raise InvalidValue("KMZ is a file, no text: say where to, as in --out places.kmz")
        if self.page is not None and (other := format_of_ending(self.page.suffix)):
            raise InvalidValue(
                f"--map writes a page ({PAGE_ENDINGS[0]}), and {self.page} ends like {other}.\n"
                f"For {other}: --out {self.page}"
            )
        files = [path for path in (self.out, self.page, self.audit) if path is not None]
        if len({path.absolute() for path in files}) < len(files):
            raise InvalidValue("--out, --map and --audit must name different files.")
        for path in files:
            if not path.absolute().parent.is_dir():
                raise CannotWrite(f"Cannot write {path}: there is no folder {path.parent}.")
            if path.is_dir():
                raise CannotWrite(f"Cannot write {path}: it is a folder. Choose another name.")


def tell(index: Index, report: Report, answers: Sequence[Answer], hints: Sequence[Hints]) -> None:
    """Print or write the answers, then the audit records, the map and the accuracy."""
    told = [replace(answer, places=answer.places[: report.places]) for answer in answers]
    if report.format == "table":
        written: str | bytes = to_table(told, top=report.shown)
    else:
        written = FORMATS[report.format].write(told)
    if report.out is not None:
        write_alone(report.out, written, "crossview locate --out")
    elif isinstance(written, str):
        console.result(written)
    if report.audit is not None:
        pairs = zip(told, hints, strict=True)
        append_records(report.audit, [audit_record(a, h, index) for a, h in pairs])
    if report.page is not None:
        for remark in write_map(report.page, index, told):
            console.note(remark, quiet=report.quiet)
        console.note(f"Map: {report.page}", quiet=report.quiet)
    if report.accuracy:
        _tell_accuracy(report, answers)
    if not report.on_stdout:
        for warning in dict.fromkeys(w for answer in told for w in answer.warnings):
            console.warn(f"{warning}.")


def _tell_accuracy(report: Report, answers: Sequence[Answer]) -> None:
    """One line on photos of known truth: below a table on stdout, else on stderr."""
    known = [answer for answer in answers if answer.truth is not None]
    if unknown := len(answers) - len(known):
        console.warn(f"The truth of {unknown} photos is unknown; the figures leave them out.")
    if known and report.on_stdout:
        console.result(_accuracy(known))
    elif known:
        console.note(_accuracy(known))


def _accuracy(answers: Sequence[Answer]) -> str:
    truths = [answer.truth for answer in answers if answer.truth is not None]
    figures = summary(answers, truths, max(RANKS))
    low, high = figures["within_25m_interval"]
    recalls = ", ".join(f"R@{k} {figures[f'recall_at_{k}']:.1%}" for k in RANKS)
    return (
        f"{figures['n']} photos of known truth: first place within 25 m for "
        f"{figures['within_25m']:.1%} (95 % interval {low:.1%} to {high:.1%}), median error "
        f"{figures['median_error_m']:.1f} m; a place within 25 m among the first k: {recalls}"
    )
