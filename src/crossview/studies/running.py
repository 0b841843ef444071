"""One row and one seed: trained in its run folder, tested, and kept; killed, it goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crossview import catalogue
from crossview._version import __version__
from crossview.arrays import I64
from crossview.errors import BadData
from crossview.evaluation.metrics import k_at_1_percent, recall, recall_cuts
from crossview.files import atomic_write
from crossview.pairs.loading import Loader, Reader
from crossview.pairs.reading import Files
from crossview.pairs.table import PairTable
from crossview.reports.published import name_data
from crossview.studies.areas import Areas, published_settings
from crossview.studies.beginning import SEED, start_row, take
from crossview.studies.definitions import Row, Start, Study, label_test
from crossview.studies.results import WHOLE_COLUMNS, Result, read_result
from crossview.training.loop import StepReport
from crossview.training.run_folder import RunFolder, TrainState
from crossview.training.session import Request, Session, fit, list_losses, prepare, start_state
from crossview.training.validation import embed_rows, rank_rows

Told = Callable[[StepReport], None]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where runs are kept, and what they may use."""

    runs: Path  # a folder per row and seed below it
    cache: Path | None = None
    workers: int = 1
    device: str = "auto"
    save_every: int = 100

    def folder(self, study: Study, row: Row, seed: int) -> Path:
        """The run folder of a row and seed."""
        return self.runs / study.name / f"{row.name}-{seed}"


def settings_of(study: Study, row: Row, areas: Areas | None, seed: int) -> dict[str, Any]:
    """The Config's settings of a row: on the towns (None or synthetic) small, else published."""
    if areas is None or areas.synthetic:
        return {**study.towns, **(row.small or row.settings), "seed": seed}
    published = published_settings(row.method or study.method, areas.data)
    return {**published, **row.settings, "seed": seed}


def run(study: Study, row: Row, seed: int, areas: Areas, place: Place, told: Told) -> Result:
    """The result of a row and seed: read if it is there, else trained (or gone on with).

    One whose pictures were cut by a rule that is no longer used is tested anew.
    """
    folder = place.folder(study, row, seed)
    if done := _standing(folder):
        check_result(done, study, row, areas, folder)
        return done
    with RunFolder(folder).lock("crossview study"):
        return _standing(folder) or _made(study, row, seed, areas, place, told)


def _standing(folder: Path) -> Result | None:
    """The result that is there, if it need not be made anew."""
    done = read_result(folder)
    return None if done is None or done.wrongly_cut else done


def check_result(done: Result, study: Study, row: Row, areas: Areas, folder: Path) -> None:
    """Raise BadData if a result that is there is of other data or settings than are asked for.

    Settings that the method no longer has do not count.
    """
    page = catalogue.method_page(row.method or study.method).load()
    known = {field.name for field in fields(page.Config)}

    def typed(settings: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in settings.items() if name in known}
        return asdict(catalogue.make_config(page, kept))

    old, new = typed(done.settings), typed(settings_of(study, row, areas, done.seed))
    differ = [f"{name} {old[name]}, asked {new[name]}" for name in new if old[name] != new[name]]
    if name_data(done.data) != name_data(areas.data):
        differ.insert(0, f"trained on {done.data}, asked {areas.data}")
    if differ:
        raise BadData(
            f"{folder} holds a run of another kind: {'; '.join(differ[:3])}.\n"
            "Give another --runs, or delete that folder to train it again."
        )


def _made(study: Study, row: Row, seed: int, areas: Areas, place: Place, told: Told) -> Result:
    folder = place.folder(study, row, seed)
    begin = study.start_of(row) if areas.synthetic else None
    request, session, state = _ready(study, row, seed, begin, areas, place, told)
    curve = _Curve(folder)
    for report in _steps(session, state, told):
        if report.step in {round(share * report.steps) for share in study.tested_at}:
            curve.add(report.step, _tests(study, areas, session, state, request))
    ranks: dict[str, list[int]] = {}
    # From the log, not from the reports: a run that was killed goes on with half of them.
    steps = [entry for entry in session.folder.entries()[0] if "loss" in entry]
    result = Result(
        study=study.name,
        row=row.name,
        seed=seed,
        settings=json.loads(json.dumps(settings_of(study, row, areas, seed))),
        tests=_tests(study, areas, session, state, request, ranks),
        losses=_mean_losses(steps[-max(1, len(steps) // 100) :]),
        steps=state.step,
        seconds=round(sum(entry["seconds"] for entry in steps), 1),
        data=areas.data,
        versions=versions(),
        curve=curve.points(),
        ranks=ranks if study.planned else {},
        towns=areas.towns if study.planned else {},
        device=_device_name(session.job.device),
        crops=WHOLE_COLUMNS,
    )
    result.write(folder)
    return result


class _Curve:
    """Tests along a training, kept beside its log so that a killed run has them when it goes on."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "curve.json"

    def points(self) -> dict[str, Any]:
        """By step, as JSON has it."""
        if not self.path.is_file():
            return {}
        points: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return points

    def add(self, step: int, tests: Mapping[str, Mapping[str, float]]) -> None:
        """Keep the tests of a step."""
        points = {**self.points(), str(step): tests}
        atomic_write(self.path, json.dumps(points, indent=2) + "\n")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _ready(  # noqa: PLR0913, PLR0917 - what a training needs, and where it begins
    study: Study, row: Row, seed: int, begin: Start | None, areas: Areas, place: Place, told: Told
) -> tuple[Request, Session, TrainState]:
    """A training of ``row``, at its last save or with the tensors of its start."""
    first = seed if study.start_per_seed else SEED
    weights = _weights_of(study, row, first, begin, areas, place, told) if begin else None
    request = _request(study, row, seed, areas, place)
    session = prepare(request)
    state = start_state(session)
    if weights and begin and not state.step:
        take(state.model, weights, begin.takes)
    return request, session, state


def _weights_of(  # noqa: PLR0913, PLR0917 - as _ready
    study: Study, row: Row, seed: int, start: Start, areas: Areas, place: Place, told: Told
) -> Path:
    """What ``start`` left for ``row``; it is trained first if it is not there yet."""
    first = start_row(study, start, row)
    _, session, state = _ready(study, first, seed, start.before, areas, place, told)
    for _ in _steps(session, state, told):
        pass
    return session.folder.weights


def _steps(session: Session, state: TrainState, told: Told) -> Iterator[StepReport]:
    """Train to the end; every step is told."""
    for report in fit(session, state):
        if isinstance(report, StepReport):
            told(report)
            yield report


def versions() -> dict[str, str]:
    """Of what a figure may depend on."""
    import timm

    return {
        "crossview": __version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
    }


def _request(study: Study, row: Row, seed: int, areas: Areas, place: Place) -> Request:
    method = row.method or study.method
    page = catalogue.method_page(method)
    return Request(
        method=method,
        page=page,
        config=catalogue.make_config(page.load(), settings_of(study, row, areas, seed)),
        data=areas.data,
        tables={"train": areas.train},
        info=areas.info,
        out=place.folder(study, row, seed),
        device=place.device,
        workers=place.workers,
        cache=place.cache,
        val_share=0.0,
        save_every=place.save_every,
    )


def _tests(
    study: Study,
    areas: Areas,
    session: Session,
    state: TrainState,
    request: Request,
    ranks_by_test: dict[str, list[int]] | None = None,
) -> dict[str, dict[str, float]]:
    """Recalls by test and field of view; the rank of every query goes into ``ranks_by_test``."""
    found = {}
    for name, table in areas.tests.items():
        views = session.reader.views
        if study.headings:
            views = replace(views, headings_seen=study.headings)
        source = Files(table, views)
        reader = replace(session.reader, table=table, source=source, views=views, page=None)
        reader = replace(reader, config={}, places=table.places(), span=None)
        for fov in study.fovs_deg:
            label = label_test(name, fov)
            found[label], ranked = recalls_at(state, table, reader, request.workers, fov)
            if ranks_by_test is not None:
                ranks_by_test[label] = ranked.tolist()
        if len(study.fovs_deg) > 1:
            labels = [label for label in found if label.partition(",")[0] == name]
            found[f"{name}, mean"] = _mean([found[label] for label in labels])
    return found


def _mean(tests: list[dict[str, float]]) -> dict[str, float]:
    """Of every figure, over fields of view."""
    return {key: round(float(np.mean([test[key] for test in tests])), 4) for key in tests[0]}


def recalls_at(
    state: TrainState, table: PairTable, reader: Reader, workers: int, fov: float
) -> tuple[dict[str, float], I64]:
    """Recalls in percent of a table at a field of view, with their counts; and the ranks [Q]."""
    with Loader(reader, workers) as loader:
        vectors = embed_rows(state, range(len(table)), loader, reader.views, fov)
    found, references = rank_rows(vectors, table, reader.views)
    k = k_at_1_percent(references)
    percent = {n: round(100.0 * recall(found, cut), 4) for n, cut in recall_cuts(k).items()}
    return {"queries": len(found), "references": references, "k at 1%": k, **percent}, found


def _mean_losses(steps: list[dict[str, Any]]) -> Mapping[str, float]:
    """Of every loss over some lines of a log."""
    losses = [list_losses(step) for step in steps]
    return {name: float(np.mean([loss[name] for loss in losses])) for name in losses[-1]}
