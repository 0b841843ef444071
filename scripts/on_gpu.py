"""What scripts/on_gpu.sh left in its folder, as one JSON: ``python -m scripts.on_gpu WORK OUT``."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from crossview.files import atomic_write
from crossview.studies.study import Result, find_study, read_result
from crossview.studies.study_tables import compute_planned_contrasts


def main(work: Path, out: Path) -> None:
    """Gather what is finished; what is not is null, and named."""
    study = find_study("singeo-fields")
    rows = read_rows(work / "rows" / study.name)
    record = {
        "card": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "command": "scripts/on_gpu.sh",
        "tests": last_line(work / "tests.txt"),
        "steps": {name: read_json(work / f"{name}.json") for name in ("singeo", "geodtr")},
        "study": study.name,
        "rows": [asdict(result) for results in rows.values() for result in results],
        "contrasts": [asdict(c) for c in compute_planned_contrasts(study.planned, rows)],
        "progress": progress(work / "rows" / study.name),
    }
    atomic_write(out, json.dumps(record, indent=1) + "\n")
    short = {**record, "rows": [f"{r['row']}-{r['seed']}: {r['tests']}" for r in record["rows"]]}
    print(json.dumps(short, indent=1))


def read_rows(folder: Path) -> dict[str, list[Result]]:
    """Finished rows by name, their seeds in order."""
    rows: dict[str, list[Result]] = {}
    for path in sorted(folder.glob("*/result.json")):
        result = read_result(path.parent)
        rows.setdefault(result.row, []).append(result)
    return rows


def progress(folder: Path) -> dict[str, Any]:
    """The last line of every log: how far a training got, and how long it waited for pictures."""
    logs = {path.parent.name: last_line(path) for path in sorted(folder.glob("*/log.jsonl"))}
    return {name: json.loads(line) for name, line in logs.items() if line}


def read_json(path: Path) -> Any:
    """The last line of a benchmark, or None if it did not end."""
    line = last_line(path)
    return json.loads(line) if line else None


def last_line(path: Path) -> str | None:
    """None where there is no such file."""
    lines = path.read_text(encoding="utf-8").strip().splitlines() if path.is_file() else []
    return lines[-1] if lines else None


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
