"""The figures of an evaluation as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossview.cli import console

if TYPE_CHECKING:
    from crossview.evaluation.record import Evaluation


def tell(record: Evaluation) -> None:
    """One block: what was measured, then a line per figure."""
    protocol = record.protocol
    fov = "drawn" if protocol.fov_deg is None else f"{protocol.fov_deg:g} degrees"
    facts = [f"field of view {fov}", f"headings {protocol.headings}", protocol.representation]
    if protocol.headings == "as given":
        facts = ["as given"]
    facts += [protocol.relation, *filter(None, [protocol.corruption])]
    lines = [
        f"{record.label} on {record.data}, split {record.split}",
        f"  {'; '.join(facts)}",
        f"  {len(record.queries.ids)} queries, {len(record.references.ids)} references; R@1% is "
        f"R@{record.k_at_1_percent}",
    ]
    if record.skipped:
        lines.append(f"  {record.skipped} queries left out: pictures that cannot be read")
    lines += [f"  NOT COMPARABLE: {text}" for text in protocol.off_protocol]
    lines += [
        f"  {f.name:24} {f.value:7.2f} {f.unit:2} [{f.low:.2f}, {f.high:.2f}]  n = {f.n}"
        for f in record.figures
    ]
    console.result("\n".join([*lines, "  in brackets: 95 % intervals over queries, one training"]))


def tell_seeds(records: list[Evaluation]) -> None:
    """The mean over seeds of every cell that has several."""
    from crossview.evaluation.grid import over_seeds

    cells: dict[Any, list[Evaluation]] = {}
    for record in records:
        cells.setdefault(record.protocol, []).append(record)
    for protocol, same in cells.items():
        if len(same) < 2:
            continue
        fov = "drawn" if protocol.fov_deg is None else f"{protocol.fov_deg:g} degrees"
        lines = [f"{fov}, {' '.join(filter(None, [protocol.corruption]))} {len(same)} seeds"]
        lines += [
            f"  {f.name:24} {f.value:7.2f} {f.unit:2} [{f.low:.2f}, {f.high:.2f}]  n = {f.n} seeds"
            for f in over_seeds(same)
        ]
        console.result("\n".join(lines))
