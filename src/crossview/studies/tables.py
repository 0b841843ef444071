"""A study's results as one JSON and one Markdown table; what was not run is listed as not run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from crossview.evaluation.metrics import RECALLS
from crossview.evaluation.record import Figure
from crossview.evaluation.statistics import compare_trainings
from crossview.files import atomic_write
from crossview.studies.beginning import SEED
from crossview.studies.contrasts import Contrast, planned_contrasts
from crossview.studies.definitions import Planned, Row, Start, Study
from crossview.studies.results import Result, pooled

Rows = Mapping[str, Sequence[Result]]  # row name -> its seeds
COMPARED = ("R@1", "R@10")
SYNTHETIC = "Synthetic town, small network: not comparable with published numbers."


def write_tables(study: Study, rows: Rows, out: Path, command: str, *, synthetic: bool) -> Path:
    """Write ``out/NAME.json`` and ``out/NAME.md``; returns the latter."""
    out.mkdir(parents=True, exist_ok=True)
    record = _record(study, rows, command, synthetic)
    atomic_write(out / f"{study.name}.json", json.dumps(record, indent=2) + "\n")
    atomic_write(out / f"{study.name}.md", "\n".join(_page(study, rows, record)) + "\n")
    return out / f"{study.name}.md"


def _record(study: Study, rows: Rows, command: str, synthetic: bool) -> dict[str, Any]:
    done = [result for results in rows.values() for result in results]
    return {
        "study": study.name,
        "title": study.title,
        "question": study.question,
        "starts": [
            {"rows": [row.name for row in begun], **asdict(start)}
            for start, begun in (_starts(study) if synthetic else ())
        ],
        "synthetic": synthetic,
        "command": command,
        "data": sorted({result.data for result in done}),
        "versions": done[0].versions if done else {},
        "rows": [
            {
                "row": row.name,
                "says": row.says,
                "published R@1": dict(row.published),
                "seeds": [result.seed for result in rows.get(row.name, ())],
                "figures": _figures(rows.get(row.name, ())),
                "results": [asdict(result) for result in rows.get(row.name, ())],
            }
            for row in study.rows
        ],
        "comparisons": list(_comparisons(study, rows)),
        "planned": [asdict(c) for c in _planned(study, rows)],
        "prediction": study.planned.prediction if study.planned else "",
    }


def _figures(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    tests = results[0].tests if results else {}
    pools = {test: {m: pooled(results, test, m) for m in RECALLS} for test in tests}
    return {
        test: {name: _plain(figure) for name, figure in measures.items() if figure}
        for test, measures in pools.items()
    }


def _plain(figure: Figure) -> dict[str, Any]:
    low, high = (None if math.isnan(v) else v for v in (figure.low, figure.high))
    return {"mean": figure.value, "low": low, "high": high, "trainings": figure.n}


def _comparisons(study: Study, rows: Rows) -> Iterator[dict[str, Any]]:
    """Paired by seed; differences in points, where at least two seeds are in both rows."""
    for first, second in study.against:
        one, two = ({r.seed: r for r in rows.get(name, ())} for name in (first, second))
        seeds = sorted(set(one) & set(two))
        for test, figures in one[seeds[0]].tests.items() if len(seeds) >= 2 else ():
            step = 100.0 / figures["queries"]
            compared = {"first": first, "second": second, "test": test, "n": len(seeds)}
            for measure in COMPARED:
                pairs = [[side[s].tests[test][measure] for s in seeds] for side in (one, two)]
                compared[measure] = asdict(compare_trainings(*pairs, step=step))
            yield compared


def _planned(study: Study, rows: Rows) -> list[Contrast]:
    return planned_contrasts(study.planned, rows) if study.planned else []


def _page(study: Study, rows: Rows, record: Mapping[str, Any]) -> Iterator[str]:
    tests = next((list(r[0].tests) for r in rows.values() if r), [])
    yield f"# {study.title}"
    yield ""
    if record["synthetic"]:
        yield f"**{SYNTHETIC}**"
        yield ""
    yield f"{study.question} Percent; mean over trainings with its 95 % interval (Student's t)."
    yield ""
    heads = [f"{test}: {measure}" for test in tests for measure in RECALLS]
    published = list(dict.fromkeys(test for row in study.rows for test in row.published))
    heads += [f"paper, {test}: R@1" for test in published]
    yield _line(["row", "trainings", *heads])
    yield _line(["---"] * (len(heads) + 2))
    for row, entry in zip(study.rows, record["rows"], strict=True):
        cells = [
            f"{row.published[test]:.2f}" if test in row.published else "" for test in published
        ]
        yield _line([row.says, *_measured(entry, tests), *cells])
    yield ""
    yield from _differences(study, record["comparisons"])
    if study.planned:
        yield from _contrasts(study, study.planned, record["planned"])
    yield from _footer(study, record)


def _measured(entry: Mapping[str, Any], tests: Sequence[str]) -> list[str]:
    if not entry["seeds"]:
        return ["not run", *[""] * (len(tests) * len(RECALLS))]
    cells = [entry["figures"][test][measure] for test in tests for measure in RECALLS]
    return [str(len(entry["seeds"])), *(_cell(cell) for cell in cells)]


def _cell(figure: Mapping[str, Any]) -> str:
    if figure["low"] is None:
        return f"{figure['mean']:.1f}"
    return f"{figure['mean']:.1f} [{figure['low']:.1f}, {figure['high']:.1f}]"


def _differences(study: Study, comparisons: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not comparisons:
        return
    says = {row.name: row.says for row in study.rows}
    yield "Differences in points, paired by seed; *detectable*: what such a study notices four "
    yield "times in five."
    yield ""
    heads = [head for m in COMPARED for head in (f"{m}: difference", "p", "detectable")]
    yield _line(["second minus first", "test", *heads, "seeds"])
    yield _line(["---"] * (len(heads) + 3))
    for c in comparisons:
        names = f"{says[c['second']]} - {says[c['first']]}"
        cells = [cell for measure in COMPARED for cell in _compared(c[measure])]
        yield _line([names, c["test"], *cells, str(c["n"])])
    yield ""


def _contrasts(
    study: Study, planned: Planned, contrasts: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """The prediction, and what came of it, under the correction that was planned."""
    yield f"Predicted before the first run: {planned.prediction}"
    yield ""
    if not contrasts:
        yield "No planned contrast has two seeds of both rows yet."
        yield ""
        return
    says = {row.name: row.says for row in study.rows}
    yield (
        f"Planned contrasts, {planned.measure} in the mean over {' and '.join(planned.tests)}; "
        "intervals redraw seeds, towns and queries together; Holm over the secondary ones."
    )
    yield ""
    yield _line(["second minus first", "", "difference", "p", "seeds", "towns", "queries"])
    yield _line(["---"] * 7)
    for c in contrasts:
        change = f"{c['difference']:+.1f} [{c['low']:+.1f}, {c['high']:+.1f}]"
        kind = "primary" if c["primary"] else "secondary"
        counts = [str(c[name]) for name in ("seeds", "towns", "queries")]
        names = f"{says[c['second']]} - {says[c['first']]}"
        yield _line([names, kind, change, f"{c['p_holm']:.3f}", *counts])
    yield ""


def _compared(c: Mapping[str, Any]) -> tuple[str, str, str]:
    change = f"{c['difference']:+.1f} [{c['low']:+.1f}, {c['high']:+.1f}]"
    return change, f"{c['p']:.3f}", f"{c['detectable']:.1f}"


def _footer(study: Study, record: Mapping[str, Any]) -> Iterator[str]:
    done = [result for entry in record["rows"] for result in entry["results"]]
    if study.source:
        yield f"Paper: {study.source}."
    if not done:
        yield "Nothing of it has been run."
        return
    sizes = {t: (r["queries"], r["references"]) for d in done for t, r in d["tests"].items()}
    told = "; ".join(f"{t}: {q} queries, {n} references" for t, (q, n) in sizes.items())
    minutes = sum(d["seconds"] for d in done) / 60
    yield f"{told}. Data: {'; '.join(record['data'])}."
    if record["synthetic"]:
        yield from _beginnings(study)
    yield f"{len(done)} trainings, {minutes:.0f} minutes of training in all."
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    yield f"Made by `{record['command']}` with {versions}."


def _starts(study: Study) -> Iterator[tuple[Start, list[Row]]]:
    """What rows begin from, with the rows that begin from it."""
    for start, rows in groupby(study.rows, key=study.start_of):
        if start is not None:
            yield start, list(rows)


def _beginnings(study: Study) -> Iterator[str]:
    for start, rows in _starts(study):
        names = ", ".join(row.name for row in rows)
        who = "Every row begins" if len(rows) == len(study.rows) else f"{names}: begun"
        *first, last = start.chain()
        seed = "its own seed" if study.start_per_seed else f"seed {SEED}"
        chain = "".join(
            f"{_training(one)}, then {'with its trunks ' if one.takes else ''}" for one in first
        )
        yield (
            f"{who} from the {'trunks' if last.takes else 'network'} that one training of "
            f"{chain}{_training(last)}, {seed}, left; the paper's begin from ImageNet's "
            "weights."
        )


def _training(start: Start) -> str:
    return f"{start.settings['steps']} steps ({start.name})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
