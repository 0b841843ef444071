"""Train two networks on the same pairs, measure both, and report whether they really differ.

    python docs/examples/train_and_report.py my-pairs/pairs.csv OUT [STEPS]

The pairs need the splits train and val, as ``crossview world --from`` writes them. OUT gets a run
folder and the records of each network, and report/report.html. 500 steps of 300 pairs take some
minutes on two cores.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import crossview
from crossview.cli import main as command
from crossview.evaluation.evaluation_record import open_records
from crossview.reports.report_page import ReportFacts, write_report

PAGE = Path(__file__).with_name("mine.py")  # the method; any name of the catalogue would do
NETWORKS = {"narrow": "width=8", "wide": "width=32"}
FIELDS_DEG = [360, 180, 90, 70]


def train(run: Path, data: str, setting: str, steps: str) -> None:
    """As typed; a run that was stopped is continued, one that is complete is left alone."""
    words = ["train", "--method", str(PAGE), "--data", data, "--out", str(run)]
    if command([*words, "--config", setting, "--steps", steps]) != 0:
        raise SystemExit(1)


def main(pairs: Path, out: Path, steps: str = "500") -> None:
    """Train, evaluate, report."""
    data = f"pairs:{pairs}"
    for name, setting in NETWORKS.items():
        train(out / "runs" / name, data, setting, steps)
        records = crossview.evaluate(
            out / "runs" / name, data, split="val", fov=FIELDS_DEG, label=name, method=PAGE,
            out=out / "records" / name,
        )  # fmt: skip
        for figure in records[0].figures:
            print(name, figure.name, figure.value, figure.low, figure.high)
    facts = ReportFacts(
        title="Two widths of one network", created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    )
    print(write_report(open_records([out / "records"]), out / "report", facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
