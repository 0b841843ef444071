"""The figures of an evaluation as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from crossview.cli import console

if TYPE_CHECKING:
    from crossview.evaluation.headline import FieldsMean
    from crossview.evaluation.record import Evaluation, Figure, Protocol


def tell(records: Sequence[Evaluation], means: Sequence[FieldsMean] = ()) -> None:
    """One record: a line per figure with its interval; several: a row each, then means.

    ``means``: over fields of view, one for each way of treating headings.
    """
    first = records[0]
    lines = [
        f"{first.label} on {first.data}, split {first.split}",
        f"  {len(first.queries.ids)} queries, {len(first.references.ids)} references; R@1% is "
        f"R@{first.k_at_1_percent}; {first.protocol.relation}",
    ]
    if first.skipped:
        lines.append(f"  {first.skipped} queries left out: pictures that cannot be read")
    if len(records) == 1:
        lines += [f"  {_condition(first.protocol)}", *_figures(first)]
    else:
        lines += _rows(records, means)
    lines += [f"  * {text}" for text in _marks(records)]
    lines.append("  in brackets: 95 % intervals over queries, one training")
    console.result("\n".join(lines))


def _figures(record: Evaluation) -> Iterator[str]:
    mark = "*" if record.protocol.off_protocol else " "
    for f in record.figures:
        yield f"{mark} {f.name:24} {f.value:7.2f} {f.unit:2} [{f.low:.2f}, {f.high:.2f}]  n = {f.n}"


def _rows(records: Sequence[Evaluation], means: Sequence[FieldsMean]) -> Iterator[str]:
    from crossview.evaluation.headline import FIELDS_WORDS
    from crossview.evaluation.metrics import METRICS, mean_name

    names = [name for name, m in METRICS.items() if m.listed and records[0].figure(name)]
    titles = {f"mean over {FIELDS_WORDS}, {_beside_fov(m.protocol)}": m for m in means}
    width = max(*(len(_condition(r.protocol)) + 8 for r in records), *map(len, titles), 0) + 2
    yield "  " + "condition".ljust(width) + "".join(f"{name:>17}" for name in names)
    by_protocol: dict[Protocol, list[Evaluation]] = {}
    for record in records:
        by_protocol.setdefault(record.protocol, []).append(record)
    for protocol, same in by_protocol.items():
        mark = "* " if protocol.off_protocol else "  "
        for record in same:
            seeds = ", ".join(map(str, record.seeds))
            name = f"{_condition(protocol)}; seed {seeds}"
            yield mark + name.ljust(width) + "".join(_cell(record.figure(name)) for name in names)
        if len(same) > 1:
            cells = "".join(f"{_mean(same, name):>17}" for name in names)
            yield mark + f"mean of {len(same)} seeds +- spread".ljust(width) + cells
    for title, mean in titles.items():
        mark = "* " if mean.protocol.off_protocol else "  "
        cells = "".join(_cell(mean.figure(mean_name(name))) for name in names)
        yield mark + title.ljust(width) + cells


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return " " * 17
    return f"{figure.value:.1f} [{figure.low:.0f}, {figure.high:.0f}]".rjust(17)


def _mean(records: Sequence[Evaluation], name: str) -> str:
    """The mean over seeds, and half of what lies between the lowest and the highest."""
    values = [figure.value for record in records if (figure := record.figure(name))]
    return f"{sum(values) / len(values):.1f} +- {(max(values) - min(values)) / 2:.1f}"


def _condition(protocol: Protocol) -> str:
    if protocol.headings == "as given":
        return "as given"
    fov = "field of view drawn" if protocol.fov_deg is None else f"{protocol.fov_deg:g} degrees"
    return f"{fov}, {_beside_fov(protocol)}"


def _beside_fov(protocol: Protocol) -> str:
    facts = [f"heading {protocol.headings}", protocol.representation, protocol.corruption]
    return ", ".join(filter(None, facts))


def _marks(records: Sequence[Evaluation]) -> list[str]:
    """What makes figures not comparable, each once."""
    texts = [text for record in records for text in record.protocol.off_protocol]
    return [f"NOT COMPARABLE: {text}" for text in dict.fromkeys(texts)]
