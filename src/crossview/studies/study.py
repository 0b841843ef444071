"""What a study is, and what its trainings gave.

Rows that differ in some settings, where they are tried, and the comparisons that answer its
question. The studies are written down in ``definitions/*.toml``; the result of a training is kept
as JSON in its run folder.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from crossview.errors import BadData, InvalidValue, UnknownName, match_name, require
from crossview.evaluation.evaluation_record import Figure
from crossview.evaluation.metrics import OVER, RECALLS
from crossview.evaluation.run_comparison import over_trainings
from crossview.files import atomic_write
from crossview.locks import write_alone
from crossview.reports.published import Quote
from crossview.schema import check, read_object
from crossview.worlds.town_pairs import TownPlan

RESULT_NAME = "result.json"
WHOLE_COLUMNS = 1  # the rule of views.crops, by which tested panoramas are cut
DEFINITIONS = ("geodtr", "singeo", "singeo-fields", "field")
SEEDS = 3  # of a row, unless it says otherwise
BOTH = "both"  # headings: what is tested north-aligned is tested at unknown headings, too


@dataclass(frozen=True, kw_only=True)
class Start:
    """The one training whose tensors rows of a study on towns begin from.

    ``follows``: the settings that it takes from the row, so that its network fits the row's.
    ``takes``: parts of the names of the tensors that a row takes; () takes them all. ``before``:
    the training that it begins from itself.
    """

    settings: Mapping[str, Any]
    takes: tuple[str, ...]
    name: str = "start"  # of its run folder
    follows: tuple[str, ...] = ("backbone",)
    method: str = ""  # if not the study's
    before: Start | None = None

    def chain(self) -> tuple[Start, ...]:
        """The starts in the order in which they are trained; this one is the last."""
        return (*(self.before.chain() if self.before else ()), self)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: ``settings`` of the method's Config over the study's own."""

    name: str
    says: str  # what it is, in the paper's words
    settings: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)  # in place of them on the towns
    published: Quote | None = None
    method: str = ""  # if not the study's
    start: Start | None = None  # on towns, if not the study's
    seeds: int = SEEDS  # trainings, unless a command asks for others


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What was written down before the first run.

    ``measure`` is averaged over ``tests`` (the fields of view of one table); the primary contrast
    is ``primary`` (first, second), second minus first; ``secondary`` ones are under Holm, those
    that were not run among them. ``least_seeds``: so many must both rows of a contrast share. One
    says what other towns and queries would have given, and nothing of other trainings.
    """

    prediction: str
    measure: str  # "R@10"
    tests: tuple[str, ...]
    primary: tuple[str, str] | None = None  # None: all of them are under Holm
    secondary: tuple[tuple[str, str], ...] = ()
    least_seeds: int = 2

    @property
    def contrasts(self) -> tuple[tuple[str, str], ...]:
        """All of them; the primary one comes first."""
        return (*((self.primary,) if self.primary else ()), *self.secondary)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Rows, the settings that all share, and the comparisons that answer its question.

    ``towns``: settings that make it fit two cores on synthetic towns. ``against``: pairs of rows
    (first, second) whose difference over trainings is tested, second minus first.
    """

    name: str
    title: str
    question: str
    method: str
    rows: tuple[Row, ...]
    towns: Mapping[str, Any]
    start: Start | None = None  # on towns; None: from random weights
    against: tuple[tuple[str, str], ...] = ()
    fovs_deg: tuple[float, ...] = (360.0,)
    headings: str = ""  # "unknown": panoramas are turned at random when tested, whatever is
    # trained; "both": tested north-aligned as well as turned
    source: str = ""  # where the published figures are from
    plan: TownPlan | None = None  # its towns, if not those of all studies
    start_per_seed: bool = False  # every seed begins from a training of its own
    tested_at: tuple[float, ...] = ()  # also tested at these shares of the training's steps
    planned: Planned | None = None
    quoted: tuple[str, str] = ("cvusa", "cvact")  # beside towns: of this training, and tested there
    bench: bool = False  # methods side by side: a file for each training, and what each computes
    limits: str = ""  # what the table cannot say; stands at its top
    measures: tuple[str, ...] = RECALLS

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        require(len(set(names)) == len(names), f"study {self.name} has two rows of one name.")
        for name in {n for pair in self._pairs() for n in pair} - set(names):
            raise UnknownName(f"row of {self.name}", name, names)

    def _pairs(self) -> tuple[tuple[str, str], ...]:
        return (*self.against, *(self.planned.contrasts if self.planned else ()))

    @property
    def tested_headings(self) -> tuple[str, ...]:
        """How panoramas are turned when tested; "" as the row's method sees them."""
        return ("aligned", "unknown") if self.headings == BOTH else (self.headings,)

    def start_of(self, row: Row) -> Start | None:
        """What a row begins from on towns."""
        return row.start or self.start

    def row(self, name: str) -> Row:
        """The row of that name; UnknownName lists those that exist."""
        rows = {row.name: row for row in self.rows}
        return rows[match_name(f"row of {self.name}", name, rows)]

    def changed(self, settings: Mapping[str, Any], names: tuple[str, ...] = ()) -> Study:
        """The study with some settings the same in every row, as given on a command line.

        ``steps`` are those of a plain row: rows that take more of them, so that all cost the same,
        keep their ratio. Raises InvalidValue for a setting that one of the rows ``names`` (all for
        none) is about, because the rows would then be no comparison.
        """
        rows = self.chosen(names)
        for name in settings:
            about = [r.name for r in rows if name != "steps" and name in {**r.settings, **r.small}]
            require(
                not about,
                f"--config {name}: {', '.join(about)} set this themselves, and would no longer be "
                "what they are called.\nChange another setting, or choose other rows with --row.",
            )
        changed = [
            replace(
                row,
                settings={**row.settings, **self._kept_ratio(row, settings)},
                small={**(row.small or row.settings), **self._kept_ratio(row, settings)},
            )
            for row in self.rows
        ]
        return replace(self, rows=tuple(changed)) if settings else self

    def steps_ratio(self, row: Row) -> float:
        """How many steps a row takes for one of a plain row, so that both cost the same."""
        plain = self.towns.get("steps")
        own = {**row.settings, **row.small}.get("steps", plain)
        return own / plain if plain else 1.0

    def _kept_ratio(self, row: Row, settings: Mapping[str, Any]) -> dict[str, Any]:
        if "steps" not in settings or self.steps_ratio(row) == 1.0:
            return dict(settings)
        try:
            steps = round(int(settings["steps"]) * self.steps_ratio(row))
        except ValueError as problem:
            raise InvalidValue(
                f"--config steps takes a whole number, got {settings['steps']!r}."
            ) from problem
        return {**settings, "steps": str(steps)}

    def chosen(self, names: tuple[str, ...]) -> tuple[Row, ...]:
        """The rows of these names in the study's order; all of them for none."""
        wanted = [self.row(name) for name in names]
        return tuple(row for row in self.rows if not names or row in wanted)


def label_test(area: str, fov_deg: float, headings: str = "") -> str:
    """The name of a test in tables: "same", "same, 90 degrees", or "same, unknown heading"."""
    shown = area if fov_deg == 360.0 else f"{area}, {fov_deg:g} degrees"
    return f"{shown}, unknown heading" if headings == "unknown" else shown


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
    parameters: int = 0  # of the network that is trained; this and the next three: of benches only
    pairs: int = 0  # seen in training, repeats included; a pair's copies count once
    macs: float = 0.0  # multiply-adds of all passes of the training, forward and back
    processor_s: float = 0.0  # of training and testing; without that of loading processes

    @property
    def wrongly_cut(self) -> bool:
        """Whether padded pictures were tested by the rule that none was trained by."""
        padded = self.settings.get("representation") == "padded"
        return padded and self.crops < WHOLE_COLUMNS and len(self.tests) > len(_areas(self.tests))

    def write(self, folder: Path) -> None:
        """Keep it as ``result.json``: its presence says that the run is done."""
        atomic_write(folder / RESULT_NAME, json.dumps(asdict(self), indent=2) + "\n")

    def write_apart(self, folder: Path) -> None:
        """Keep it beside a bench's table, as ``ROW-SEED.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.row}-{self.seed}.json"
        write_alone(file, json.dumps(asdict(self)) + "\n", "crossview study")


def _areas(tests: Iterable[str]) -> set[str]:
    """The areas of tests named "AREA" and "AREA, FIELD OF VIEW"."""
    return {name.partition(",")[0] for name in tests}


def read_result(folder: Path) -> Result | None:
    """The result in a run folder, or None while there is none."""
    path = folder / RESULT_NAME
    return read_result_file(path) if path.is_file() else None


def read_result_file(path: Path) -> Result:
    """The result that a file holds; BadData if it holds none."""
    try:
        return check(Result, read_object(path))
    except (OSError, ValueError) as problem:
        raise BadData(f"{path} is no result of a study: {problem}\nDelete it to run again.") from (
            problem
        )


def pool_trainings(results: Sequence[Result], test: str, measure: str) -> Figure | None:
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


@cache
def read_studies() -> dict[str, Study]:
    """All studies by name, as ``definitions/*.toml`` have them."""
    folder = resources.files("crossview.studies") / "definitions"
    studies = [study for name in DEFINITIONS for study in _read_file(folder / f"{name}.toml")]
    return {study.name: study for study in studies}


def find_study(name: str) -> Study:
    """The study of that name; UnknownName suggests the nearest one."""
    studies = read_studies()
    return studies[match_name("study", name, studies)]


def _read_file(file: Traversable) -> list[Study]:
    """The studies of a file, which share its settings for towns and its starts."""
    content = _with_tuples(tomllib.loads(file.read_text(encoding="utf-8")))
    starts: dict[str, Start] = {}
    for name, values in content.get("start", {}).items():  # a start stands after the one before it
        before = starts[values.pop("before")] if "before" in values else None
        starts[name] = Start(**values, before=before)
    return [_make_study(values, content["towns"], starts) for values in content["study"]]


def _make_study(
    values: dict[str, Any], towns: Mapping[str, Any], starts: Mapping[str, Start]
) -> Study:
    if "plan" in values:
        values["plan"] = TownPlan(**values["plan"])
    if "planned" in values:
        values["planned"] = Planned(**values["planned"])
    rows = tuple(_make_row(row, starts) for row in values.pop("row"))
    start = starts[values.pop("start")] if "start" in values else None
    return Study(**values, rows=rows, towns=towns, start=start)


def _make_row(values: dict[str, Any], starts: Mapping[str, Start]) -> Row:
    """A row; ``town_steps`` are its own on towns, where a step costs less than that of others."""
    steps = values.pop("town_steps", 0)
    start = starts[values.pop("start")] if "start" in values else None
    published = Quote(**values.pop("published")) if "published" in values else None
    row = Row(**values, published=published, start=start)
    if not steps:
        return row
    return replace(row, small={**(row.small or row.settings), "steps": steps})


def _with_tuples(value: Any) -> Any:
    """Lists of TOML as tuples, except lists of tables."""
    if isinstance(value, dict):
        return {name: _with_tuples(item) for name, item in value.items()}
    if isinstance(value, list):
        items = [_with_tuples(item) for item in value]
        return items if items and isinstance(items[0], dict) else tuple(items)
    return value
