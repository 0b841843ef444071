"""A report on the embedded world: the packaged model in towns of known and of unknown style.

    python docs/examples/town_report.py OUT [PLACES]

Beside it stand the same network without training, and a matcher that knows only colours. OUT gets
the pictures, the records and report/report.html. With 720 places in each of the two areas, about
five minutes on one core.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from crossview import catalogue
from crossview.demo import HistogramEmbedder, randomize_weights
from crossview.evaluation.conditions import Condition
from crossview.evaluation.embed import (
    EmbedSettings,
    Subject,
    add_hard_samples,
    embed,
    evaluate_conditions,
    make_views,
)
from crossview.evaluation.evaluation_record import open_records
from crossview.model import Embedder, open_model, resolve_model
from crossview.pairs.reading import Files
from crossview.reports.report_page import ReportFacts, write_report
from crossview.worlds.styles import SEEN_STYLES, UNSEEN_STYLE
from crossview.worlds.town_pairs import TownPlan, ensure_pairs

TOWNS = {"same-area": SEEN_STYLES, "cross-area": (UNSEEN_STYLE,) * 4}
CONDITIONS = [Condition(fov_deg=fov) for fov in (360.0, 180.0, 90.0, 70.0)]


def matchers(out: Path) -> Iterator[tuple[str, Embedder]]:
    """The three to be compared."""
    trained = open_model("town")
    yield "town model", trained
    yield "without training", open_model(randomize_weights(resolve_model("town"), out / "random"))
    spread = replace(trained.info, fov_seen_deg=(1.0, 360.0))  # colours need no training
    yield "colour histogram", HistogramEmbedder(spread)


def evaluate(area: str, places: int, out: Path) -> None:
    """Render one area and write a record for every matcher and field of view."""
    styles = TOWNS[area]
    plan = TownPlan(styles=(), test_styles=styles, test_pairs_per_style=places // len(styles))
    root = ensure_pairs(out / area, plan).parent
    data = f"pairs:{root}"
    table = catalogue.open_data(data).tables["test"]
    for number, (label, embedder) in enumerate(matchers(out)):
        source = Files(table, make_views(embedder.info))
        subject = Subject(
            info=embedder.info, label=label, method=embedder.info.name, data=data, split="test",
            rules=catalogue.rules(data), command="docs/examples/town_report.py",
            model={"fingerprint": embedder.fingerprint}, selection="as its maker chose",
        )  # fmt: skip
        conditions = [*add_hard_samples(CONDITIONS[:1]), *CONDITIONS[1:]]
        embedded = embed(table, embedder, conditions, EmbedSettings(source=source))
        for condition, record in evaluate_conditions(subject, embedded):
            record.write(out / "records" / area / f"{number}-{label}" / condition.folder)


def main() -> None:
    """Both areas, then the page; records by matcher, so that runs come in their order."""
    out, places = Path(sys.argv[1]), int((*sys.argv[2:], "720")[0])
    for area in TOWNS:
        evaluate(area, places, out)
    created = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    records = open_records(
        folder
        for number in range(3)
        for area in TOWNS
        for folder in (out / "records" / area).glob(f"{number}-*")
    )
    title = "The packaged model on the embedded world"
    print(write_report(records, out / "report", ReportFacts(title=title, created=created)))


if __name__ == "__main__":
    main()
