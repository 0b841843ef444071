"""A study's results: its planned contrasts, one JSON and one Markdown table.

One contrast is primary, the others stand under Holm. Two rows are compared over what both were
asked: seeds, towns and queries. An interval must say what other seeds *and* other towns *and* other
queries would have given, so a resample draws all three with replacement; both rows are drawn alike.
With three seeds and three towns such intervals are wide, as they should be. What was not run is
listed as not run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from crossview.arrays import F64
from crossview.errors import require
from crossview.evaluation.evaluation_record import Figure
from crossview.evaluation.metrics import MAIN, OVER, RECALLS
from crossview.evaluation.run_comparison import compare_trainings, correct_together
from crossview.localization import accuracy as truth
from crossview.locks import write_alone
from crossview.reports.published import name_data, name_training_data
from crossview.stats import RESAMPLES, holm
from crossview.studies.running import SEED, choose_test_split
from crossview.studies.study import Planned, Result, Row, Start, Study, label_test, pool_trainings


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Second minus first row, in points of the planned measure."""

    first: str
    second: str
    primary: bool
    difference: float
    low: float
    high: float
    p: float  # two-sided, of the resamples
    p_holm: float  # among the secondary contrasts; that of the primary is its p
    seeds: int
    towns: int
    queries: int


def compute_planned_contrasts(
    planned: Planned, rows: Mapping[str, Sequence[Result]], *, seed: int = 0
) -> list[Contrast]:
    """Those contrasts whose two rows share as many seeds as planned; the primary comes first."""
    contrasts = [c for pair in planned.contrasts if (c := _contrast(planned, pair, rows, seed))]
    return _corrected(contrasts, len(planned.secondary))


def hits(result: Result, planned: Planned) -> F64:
    """Mean over the planned tests of each query's hit, in percent [Q]."""
    by_test = np.stack([_hits_of(result, test, planned.measure) for test in planned.tests])
    return np.asarray(by_test.mean(axis=0), dtype=np.float64)


def _hits_of(result: Result, test: str, measure: str) -> F64:
    """Each query's hit in one test, 0 or 100 [Q]."""
    marked = truth.mark_hits(np.array(result.ranks[test]), int(measure.removeprefix("R@")))
    return np.asarray(100.0 * marked, dtype=np.float64)


def _contrast(
    planned: Planned, pair: tuple[str, str], rows: Mapping[str, Sequence[Result]], seed: int
) -> Contrast | None:
    one, two = ({r.seed: r for r in rows.get(name, ())} for name in pair)
    seeds = sorted(set(one) & set(two))
    if len(seeds) < planned.least_seeds:
        return None
    differences = np.stack([hits(two[s], planned) - hits(one[s], planned) for s in seeds])
    towns = _towns(one[seeds[0]], planned)
    drawn = resample_means(differences, towns, seed=seed)
    low, high = np.quantile(drawn, [0.025, 0.975])
    tail = min(float((drawn <= 0).mean()), float((drawn >= 0).mean()))
    return Contrast(
        first=pair[0],
        second=pair[1],
        primary=pair == planned.primary,
        difference=float(differences.mean()),
        low=float(low),
        high=float(high),
        p=min(1.0, 2.0 * max(tail, 1.0 / RESAMPLES)),
        p_holm=float("nan"),
        seeds=len(seeds),
        towns=len(set(towns)),
        queries=differences.shape[1],
    )


def _towns(result: Result, planned: Planned) -> list[str]:
    """The town of every query; all planned tests are fields of view of one table."""
    tables = {test.partition(",")[0] for test in planned.tests}
    require(len(tables) == 1, f"planned tests must share their queries, got {sorted(tables)}.")
    return list(result.towns[tables.pop()])


def resample_means(differences: F64, towns: Sequence[str], *, seed: int = 0) -> F64:
    """Means [RESAMPLES] of ``differences`` [S, Q] with seeds, towns and queries redrawn.

    Queries are redrawn within their town, so a town weighs as many queries as it has.
    """
    rng = np.random.default_rng(seed)
    town = np.unique(np.asarray(towns), return_inverse=True)[1]
    columns = [np.flatnonzero(town == number) for number in range(town.max() + 1)]
    sums, sizes = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    redrawn = rng.integers(0, len(differences), (RESAMPLES, len(differences)))
    counts = np.stack([(redrawn == s).sum(axis=1) for s in range(len(differences))], axis=1)
    means = counts / len(differences) @ differences  # of the seeds that were drawn [RESAMPLES, Q]
    for drawn in rng.integers(0, len(columns), (len(columns), RESAMPLES)):
        for number, of in enumerate(columns):
            rows = np.flatnonzero(drawn == number)
            queries = rng.choice(of, (len(rows), len(of)))
            sums[rows] += means[rows[:, None], queries].sum(axis=1)
            sizes[rows] += len(of)
    return sums / sizes


def _corrected(contrasts: Sequence[Contrast], planned: int) -> list[Contrast]:
    """The secondary ones by Holm among all ``planned``; the primary was named in advance.

    Those that were not run count with p = 1, so that a table that is not whole promises no more.
    """
    found = [c.p for c in contrasts if not c.primary]
    others = iter(holm([*found, *[1.0] * (planned - len(found))]))
    return [replace(c, p_holm=c.p if c.primary else next(others)) for c in contrasts]


Rows = Mapping[str, Sequence[Result]]  # row name -> its seeds
COMPARED = ("R@1", "R@10")
COMPUTED = [
    "parameters, millions",
    "steps",
    "pairs seen",
    "multiply-adds, T",
    "processor seconds",
]
SYNTHETIC = "Synthetic town, small network: not comparable with published numbers."


def write_tables(  # noqa: PLR0913 - what a table says of itself
    study: Study,
    rows: Rows,
    out: Path,
    command: str,
    *,
    synthetic: bool,
    data: str = "",
    cross: str = "",
) -> Path:
    """Write ``out/NAME.json`` and ``out/NAME.md``; returns the latter.

    ``command`` is that of the study without its rows and seeds, which are those that have results.
    ``data`` and ``cross`` as given, empty for towns: published figures of that training are quoted.
    """
    out.mkdir(parents=True, exist_ok=True)
    quotes = Quotes.of(study, data, cross)
    record = _record(study, rows, _commands(study, rows, command), quotes, synthetic)
    texts = {
        f"{study.name}.json": json.dumps(record, indent=2) + "\n",
        f"{study.name}.md": "\n".join(_page(study, rows, record, quotes)) + "\n",
    }
    for name, text in texts.items():
        write_alone(out / name, text, "crossview study")
    return out / f"{study.name}.md"


def _commands(study: Study, rows: Rows, command: str) -> list[str]:
    """What makes the table: a command for each set of seeds, with its rows; most seeds first.

    A bench names its own seeds, and its command goes on where it is not whole.
    """
    if study.bench:
        return [command]
    groups: dict[tuple[int, ...], list[str]] = {}
    for row in study.rows:
        if results := rows.get(row.name):
            groups.setdefault(tuple(sorted(r.seed for r in results)), []).append(row.name)
    commands = []
    for seeds, names in sorted(groups.items(), key=lambda group: -len(group[0])):
        chosen = [] if len(names) == len(study.rows) else [f"--row {name}" for name in names]
        counted = seeds == tuple(range(1, len(seeds) + 1))
        which = [f"--seeds {len(seeds)}"] if counted else [f"--seed {seed}" for seed in seeds]
        commands.append(" ".join([command, *chosen, *which]))
    return commands


@dataclass(frozen=True, kw_only=True)
class Quotes:
    """What a paper printed of the rows, trained and tested on the same data as they are."""

    trained_on: str
    tested_on: Mapping[str, str]  # area -> data set
    figures: Mapping[str, Mapping[str, Mapping[str, float]]]  # row, test, metric -> percent
    asked: bool  # whether the paper prints any of the rows under any training

    @staticmethod
    def of(study: Study, data: str, cross: str) -> Quotes:
        """Of the training on ``data``; on towns of the training that the study names."""
        trained, other = study.quoted if not data else (_family(data), _family(cross))
        tested = {"same": trained} | ({"cross": other} if other else {})
        figures = {row.name: _quoted(study, row, trained, tested) for row in study.rows}
        return Quotes(
            trained_on=trained,
            tested_on=tested,
            figures=figures,
            asked=any(row.published for row in study.rows),
        )

    def columns(self) -> list[tuple[str, str]]:
        """(test, metric) of everything that is quoted, tests in the order of the areas."""
        there = {
            (test, m) for tests in self.figures.values() for test, v in tests.items() for m in v
        }
        tests = dict.fromkeys(test for tests in self.figures.values() for test in tests)
        areas = list(self.tested_on)
        ordered = sorted(tests, key=lambda test: areas.index(test.partition(",")[0]))
        return [(test, m) for test in ordered for m in RECALLS if (test, m) in there]

    def words(self) -> str:
        """What the columns of the paper are, or that there are none."""
        if not self.asked:
            return ""
        where = ", ".join(f"{area}: {name}" for area, name in self.tested_on.items())
        if not any(self.figures.values()):
            return f"The paper prints nothing of these rows trained on {self.trained_on}."
        return f"Columns of the paper: trained on {self.trained_on}; {where}."


def _family(data: str) -> str:
    return name_training_data(name_data(data)) if data else ""


def _quoted(
    study: Study, row: Row, trained_on: str, tested_on: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    quotes: dict[str, dict[str, float]] = {}
    if row.published is None:
        return quotes
    for area, data in tested_on.items():
        printed = row.published.figures(
            data,
            choose_test_split(data),
            trained_on=trained_on,
            headings=study.headings or "aligned",
        )
        views = [printed[fov] for fov in study.fovs_deg if fov in printed]
        for fov in study.fovs_deg:
            if fov in printed:
                quotes[label_test(area, fov)] = dict(printed[fov])
        if len(views) == len(study.fovs_deg) > 1:
            quotes[f"{area}, mean"] = {MAIN: sum(v[MAIN] for v in views) / len(views)}
    return quotes


def _record(
    study: Study, rows: Rows, commands: Sequence[str], quotes: Quotes, synthetic: bool
) -> dict[str, Any]:
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
        "commands": list(commands),
        "data": sorted({result.data for result in done}),
        "versions": done[0].versions if done else {},
        "published": {"trained_on": quotes.trained_on, "tested_on": dict(quotes.tested_on)},
        "rows": [
            {
                "row": row.name,
                "says": row.says,
                "published": quotes.figures[row.name],
                "seeds": [result.seed for result in rows.get(row.name, ())],
                "figures": _figures(study, rows.get(row.name, ())),
                **_kept(study, rows.get(row.name, ())),
            }
            for row in study.rows
        ],
        "comparisons": _comparisons(study, rows),
        "planned": [asdict(c) for c in _planned(study, rows)],
        "prediction": study.planned.prediction if study.planned else "",
    }


def _kept(study: Study, results: Sequence[Result]) -> dict[str, Any]:
    """The trainings of a row; those of a bench are in files of their own."""
    if not study.bench:
        return {"results": [asdict(result) for result in results]}
    kept = ("parameters", "pairs", "steps", "macs", "processor_s", "device")
    return {
        "results": [
            {"file": f"{study.name}/{r.row}-{r.seed}.json"} | {k: getattr(r, k) for k in kept}
            for r in results
        ],
    }


def _figures(study: Study, results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    tests = results[0].tests if results else {}
    pool = _redraw if study.bench else pool_trainings
    pools = {test: {m: pool(results, test, m) for m in study.measures} for test in tests}
    return {
        test: {name: _plain(figure) for name, figure in measures.items() if figure}
        for test, measures in pools.items()
    }


def _redraw(results: Sequence[Result], test: str, measure: str) -> Figure:
    """The mean over seeds; its interval redraws seeds, towns and queries together."""
    shares = np.stack([_hits_of(result, test, measure) for result in results])
    drawn = resample_means(shares, results[0].towns[test.partition(",")[0]])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Figure(
        name=measure, value=float(shares.mean()), low=float(low), high=float(high),
        n=len(results), unit="%", over=OVER,
    )  # fmt: skip


def _plain(figure: Figure) -> dict[str, Any]:
    low, high = (None if math.isnan(v) else v for v in (figure.low, figure.high))
    return {"mean": figure.value, "low": low, "high": high, "trainings": figure.n}


def _comparisons(study: Study, rows: Rows) -> list[dict[str, Any]]:
    """Paired by seed; differences in points, where at least two seeds are in both rows.

    All of a table stand together, so p is corrected for all of them (Holm).
    """
    about, comparisons = [], []
    for first, second in study.against:
        one, two = ({r.seed: r for r in rows.get(name, ())} for name in (first, second))
        seeds = sorted(set(one) & set(two))
        for test, figures in one[seeds[0]].tests.items() if len(seeds) >= 2 else ():
            step = 100.0 / figures["queries"]
            for measure in COMPARED:
                pairs = [[side[s].tests[test][measure] for s in seeds] for side in (one, two)]
                about.append({"first": first, "second": second, "test": test, "n": len(seeds)})
                comparisons.append(compare_trainings(*pairs, step=step))
    tests: dict[tuple[str, str, str], dict[str, Any]] = {}
    measures = [COMPARED[n % len(COMPARED)] for n in range(len(comparisons))]
    for facts, measure, comparison in zip(
        about, measures, correct_together(comparisons), strict=True
    ):
        key = (str(facts["first"]), str(facts["second"]), str(facts["test"]))
        tests.setdefault(key, facts)[measure] = asdict(comparison)
    return list(tests.values())


def _planned(study: Study, rows: Rows) -> list[Contrast]:
    return compute_planned_contrasts(study.planned, rows) if study.planned else []


def _page(study: Study, rows: Rows, record: Mapping[str, Any], quotes: Quotes) -> Iterator[str]:
    tests = next((list(r[0].tests) for r in rows.values() if r), [])
    yield f"# {study.title}"
    yield ""
    if record["synthetic"]:
        yield f"**{SYNTHETIC}**"
        yield ""
    if study.limits:
        yield study.limits
        yield ""
    about = "redraws seeds, towns and queries together" if study.bench else "Student's t"
    yield f"{study.question} Percent; mean over trainings with its 95 % interval ({about})."
    yield ""
    heads = [f"{test}: {measure}" for test in tests for measure in study.measures]
    published = quotes.columns()
    heads += [f"paper, {test}: {measure}" for test, measure in published]
    heads += COMPUTED if study.bench else []
    yield _line(["row", "trainings", *heads])
    yield _line(["---"] * (len(heads) + 2))
    for row, entry in zip(study.rows, record["rows"], strict=True):
        printed = [entry["published"].get(test, {}).get(measure) for test, measure in published]
        cells = ["" if value is None else f"{value:.2f}" for value in printed]
        cells += _computed(entry) if study.bench else []
        yield _line([row.says, *_measured(study, row, entry, tests), *cells])
    yield ""
    yield from _differences(study, record["comparisons"])
    if study.planned:
        yield from _contrasts(study, study.planned, record["planned"])
    yield from _footer(study, rows, record, quotes)


def _measured(study: Study, row: Row, entry: Mapping[str, Any], tests: Sequence[str]) -> list[str]:
    if not entry["seeds"]:
        return ["not run", *[""] * (len(tests) * len(study.measures))]
    cells = [entry["figures"][test][measure] for test in tests for measure in study.measures]
    done = len(entry["seeds"])
    missing = f" of {row.seeds}" if study.bench and done < row.seeds else ""
    return [f"{done}{missing}", *(_cell(cell) for cell in cells)]


def _computed(entry: Mapping[str, Any]) -> list[str]:
    """What a training of a bench's row computes; processor seconds are their mean."""
    done = entry["results"]
    if not done:
        return [""] * len(COMPUTED)
    seconds = float(np.mean([one["processor_s"] for one in done]))
    one = done[0]
    return [
        f"{one['parameters'] / 1e6:.2f}",
        f"{one['steps']}",
        f"{one['pairs']:,}",
        f"{one['macs'] / 1e12:.2f}",
        f"{seconds:.0f}",
    ]


def _cell(figure: Mapping[str, Any]) -> str:
    if figure["low"] is None:
        return f"{figure['mean']:.1f}"
    return f"{figure['mean']:.1f} [{figure['low']:.1f}, {figure['high']:.1f}]"


def _differences(study: Study, comparisons: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not comparisons:
        return
    says = {row.name: row.says for row in study.rows}
    yield (
        "Differences in points, paired by seed; *p, Holm*: corrected for all p of this table; "
        "*detectable*: what such a study notices four times in five."
    )
    yield ""
    heads = [head for m in COMPARED for head in (f"{m}: difference", "p", "p, Holm", "detectable")]
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
        least = f"{planned.least_seeds} seeds" if planned.least_seeds > 1 else "one seed"
        yield f"No planned contrast has {least} of both rows yet."
        yield ""
        return
    says = {row.name: row.says for row in study.rows}
    over = f"in the mean over {' and '.join(planned.tests)}"
    where = over if len(planned.tests) > 1 else f"in {planned.tests[0]}"
    whole = len(planned.contrasts)
    which = "the secondary ones" if planned.primary else f"all {whole}"
    run = "" if len(contrasts) == whole else f", of which {whole - len(contrasts)} were not run"
    alone = " One seed: nothing is said of other trainings." if planned.least_seeds == 1 else ""
    yield (
        f"Planned contrasts, {planned.measure} {where}; intervals redraw seeds, towns and queries "
        f"together; Holm over {which}{run}.{alone}"
    )
    yield ""
    yield _line(["second minus first", "", "difference", "p", "seeds", "towns", "queries"])
    yield _line(["---"] * 7)
    for c in contrasts:
        change = f"{c['difference']:+.1f} [{c['low']:+.1f}, {c['high']:+.1f}]"
        kind = "primary" if c["primary"] else "secondary" if planned.primary else "planned"
        counts = [str(c[name]) for name in ("seeds", "towns", "queries")]
        names = f"{says[c['second']]} - {says[c['first']]}"
        yield _line([names, kind, change, f"{c['p_holm']:.3f}", *counts])
    yield ""


def _compared(c: Mapping[str, Any]) -> tuple[str, str, str, str]:
    change = f"{c['difference']:+.1f} [{c['low']:+.1f}, {c['high']:+.1f}]"
    return change, f"{c['p']:.3f}", f"{c['p_holm']:.3f}", f"{c['detectable']:.1f}"


def _footer(study: Study, rows: Rows, record: Mapping[str, Any], quotes: Quotes) -> Iterator[str]:
    done = [result for results in rows.values() for result in results]
    if study.source:
        yield f"Paper: {study.source}. {quotes.words()}".strip()
    if not done:
        yield "Nothing of it has been run."
        return
    sizes = {t: (r["queries"], r["references"]) for d in done for t, r in d.tests.items()}
    sizes_text = "; ".join(f"{t}: {q:g} queries, {n:g} references" for t, (q, n) in sizes.items())
    minutes = sum(result.seconds for result in done) / 60
    yield f"{sizes_text}. Data: {'; '.join(record['data'])}."
    if record["synthetic"]:
        yield from _beginnings(study)
    yield f"{len(done)} trainings, {minutes:.0f} minutes of training in all."
    if missing := list_missing(study, rows):
        yield f"Not run: {'; '.join(missing)}."
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    made_by = " and ".join(f"`{command}`" for command in record["commands"])
    steps = "" if study.bench else f"{_steps(done)} "
    yield f"{steps}Made by {made_by} with {versions}."


def list_missing(study: Study, rows: Rows) -> list[str]:
    """What a bench still lacks of the trainings that it plans: "safa 2, 3"."""
    missing = []
    for row in study.rows if study.bench else ():
        done = {result.seed for result in rows.get(row.name, ())}
        seeds = [str(seed) for seed in range(1, row.seeds + 1) if seed not in done]
        missing += [f"{row.name} {', '.join(seeds)}"] if seeds else []
    return missing


def _steps(done: Sequence[Result]) -> str:
    """How many steps the trainings took: rows that encode less in a step take more of them."""
    rows: dict[int, dict[str, None]] = {}
    for result in done:
        rows.setdefault(result.steps, {})[result.row] = None
    if len(rows) == 1:
        return f"Steps of a training: {next(iter(rows))}."
    sizes_text = (f"{steps} ({', '.join(names)})" for steps, names in sorted(rows.items()))
    return f"Steps of a training: {'; '.join(sizes_text)}."


def _starts(study: Study) -> Iterator[tuple[Start, list[Row]]]:
    """What rows begin from, with the rows that begin from it."""
    for start, rows in groupby(study.rows, key=study.start_of):
        if start is not None:
            yield start, list(rows)


def _beginnings(study: Study) -> Iterator[str]:
    if study.bench:
        yield "Every row begins from random weights, those of its seed."
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
