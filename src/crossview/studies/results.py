"""What one training of a study gave, kept as JSON in its run folder; and all that is there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from crossview.errors import BadData
from crossview.evaluation.evaluation_record import Figure
from crossview.evaluation.metrics import OVER
from crossview.evaluation.run_comparison import over_trainings
from crossview.files import atomic_write

RESULT_NAME = "result.json"
WHOLE_COLUMNS = 1  # the rule of views.crops, by which tested panoramas are cut


@dataclass(frozen=True, kw_only=True)
class Result:
    """One row, one seed. ``tests``: name -> queries, references and recalls in percent."""

    study: str
    row: str
    seed: int
    settings: Mapping[str, Any]  # of the method's Config, all of them
    tests: Mapping[str, Mapping[str, float]]
    losses: Mapping[str, float]  # of the last hundredth of the steps
    steps: int
    seconds: float
    data: str
    versions: Mapping[str, str]
    curve: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)  # by step
    ranks: Mapping[str, Sequence[int]] = field(default_factory=dict)  # test -> of every query
    towns: Mapping[str, Sequence[str]] = field(default_factory=dict)  # table -> of every query
    device: str = "cpu"
    crops: int = 0  # the rule by which panoramas were cut; 0: padded ones masked as 4:3 photos

    @property
    def wrongly_cut(self) -> bool:
        """Whether padded pictures were tested by the rule that none was trained by."""
        padded = self.settings.get("representation") == "padded"
        return padded and self.crops < WHOLE_COLUMNS and len(self.tests) > len(_areas(self.tests))

    def write(self, folder: Path) -> None:
        """Keep it as ``result.json``: its presence says that the run is done."""
        atomic_write(folder / RESULT_NAME, json.dumps(asdict(self), indent=2) + "\n")


def _areas(tests: Iterable[str]) -> set[str]:
    """The areas of tests named "AREA" and "AREA, FIELD OF VIEW"."""
    return {name.partition(",")[0] for name in tests}


def read_result(folder: Path) -> Result | None:
    """The result in a run folder, or None while there is none."""
    path = folder / RESULT_NAME
    if not path.is_file():
        return None
    try:
        return Result(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as problem:
        raise BadData(f"{path} is no result of a study: {problem}\nDelete it to run again.") from (
            problem
        )


def pooled(results: Sequence[Result], test: str, measure: str) -> Figure | None:
    """The mean over seeds with its 95 % interval (Student's t); None without results."""
    figures = [
        Figure(
            name=measure,
            value=result.tests[test][measure],
            low=float("nan"),
            high=float("nan"),
            n=int(result.tests[test]["queries"]),
            unit="%",
            over=OVER,
        )
        for result in results
    ]
    return over_trainings(figures) if figures else None
