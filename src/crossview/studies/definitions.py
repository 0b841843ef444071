"""What a study is: rows that differ in some settings, and where they are tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from crossview.errors import InvalidValue, UnknownName, match_name, require
from crossview.reports.published import Quote
from crossview.worlds.town_pairs import TownPlan


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


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What was written down before the first run.

    ``measure`` is averaged over ``tests`` (the fields of view of one table); the primary contrast
    is ``primary`` (first, second), second minus first; ``secondary`` ones are under Holm.
    """

    prediction: str
    measure: str  # "R@10"
    tests: tuple[str, ...]
    primary: tuple[str, str]
    secondary: tuple[tuple[str, str], ...] = ()


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
    headings: str = ""  # "unknown": panoramas are turned at random when tested, whatever is trained
    source: str = ""  # where the published figures are from
    plan: TownPlan | None = None  # its towns, if not those of all studies
    start_per_seed: bool = False  # every seed begins from a training of its own
    tested_at: tuple[float, ...] = ()  # also tested at these shares of the training's steps
    planned: Planned | None = None
    quoted: tuple[str, str] = ("cvusa", "cvact")  # beside towns: of this training, and tested there

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        require(len(set(names)) == len(names), f"study {self.name} has two rows of one name.")
        for name in {n for pair in self._pairs() for n in pair} - set(names):
            raise UnknownName(f"row of {self.name}", name, names)

    def _pairs(self) -> tuple[tuple[str, str], ...]:
        plan = self.planned
        return (*self.against, *((plan.primary, *plan.secondary) if plan else ()))

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


def label_test(area: str, fov_deg: float) -> str:
    """The name of a test in tables: "same", or "same, 90 degrees"."""
    return area if fov_deg == 360.0 else f"{area}, {fov_deg:g} degrees"
