"""The trainings of a study: where each row trains, what it begins from, how it is tested and kept.

On synthetic towns, towns of one style are trained on; "same" are other towns of that style, "cross"
towns of styles that were never seen. With real data, "same" is the test split of what was trained
on. A training that was killed goes on.

The papers begin from ImageNet's weights. From random ones a small network stays for hundreds of
steps where all vectors are equal, the longer the stronger its augmentation, and a study on towns
would compare how soon its rows get away from there. So one plain training is made first, and every
row takes its trunks, not its heads. Layout masks, which rest there for longer still, can begin from
the trunk of a whole encoder.

A dry run builds every row's network, and runs one batch forward and backward through it. Its
pictures are noise, but they go the row's own way: its sampler chooses the places, its views and its
``augment`` make the pictures, a quarter into its course if it has one. So rows that differ only in
what they show differ here too.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from crossview import catalogue
from crossview._version import __version__
from crossview.arrays import I64, U8
from crossview.errors import BadData, BadModel
from crossview.evaluation.metrics import k_at_1_percent, recall, recall_cuts
from crossview.files import atomic_write
from crossview.networks.backbones import uncut
from crossview.networks.weight_files import read_tensors
from crossview.pairs.batch import Batch, TrainingLength, Views, to_batch
from crossview.pairs.loading import Loader, Reader
from crossview.pairs.page_ref import PageRef
from crossview.pairs.reading import Files
from crossview.pairs.table import PairTable
from crossview.reports.published import name_data
from crossview.schema import read_object
from crossview.studies.study import (
    WHOLE_COLUMNS,
    Result,
    Row,
    Start,
    Study,
    label_test,
    read_result,
)
from crossview.training.contract import TrainingRecipe, example_pair, example_table
from crossview.training.loop import StepReport
from crossview.training.run_folder import RunFolder
from crossview.training.session import (
    Request,
    Session,
    build_without_weights,
    fit,
    list_losses,
    prepare,
    start_state,
)
from crossview.training.train_state import TrainState
from crossview.training.validation import embed_rows, rank_rows
from crossview.worlds.town_pairs import TownPlan, ensure_pairs

TRAINED_STYLE = "suburb"
OTHER_STYLES = ("old", "terraces")
TOWNS = TownPlan(
    styles=(TRAINED_STYLE,),
    towns_per_style=8,
    pairs_per_town=300,
    validation_pairs_per_style=40,
    test_styles=(TRAINED_STYLE, *OTHER_STYLES),
    test_pairs_per_style=300,
)


@dataclass(frozen=True, kw_only=True)
class Areas:
    """Pairs to train on, and tables to test on by name ("same", "cross", ...)."""

    data: str  # as it can be given to --data
    train: PairTable
    tests: Mapping[str, PairTable]
    info: Mapping[str, Any]
    synthetic: bool
    towns: Mapping[str, list[str]] = field(default_factory=dict)  # of every query, by test


def open_town_areas(root: Path, plan: TownPlan = TOWNS) -> Areas:
    """Render what is missing below ``root``; the first test style is "same", the others "cross"."""
    path = ensure_pairs(root, plan)
    source = catalogue.open_data(str(path))
    tables = source.tables
    style = np.array([f.parent.name.rpartition("-")[0] for f in tables["test"].ground])
    of_row = style[tables["test"].pairs[:, 0]]
    trained = of_row == plan.test_styles[0]
    parts = {"same": trained, "cross": ~trained}
    tests = {name: tables["test"].take(rows) for name, rows in parts.items() if rows.any()}
    return Areas(
        data=str(source.info["training_data"]),
        train=tables["train"],
        tests=tests,
        info=source.info,
        synthetic=True,
        towns={name: _towns_of(table) for name, table in tests.items()},
    )


def _towns_of(table: PairTable) -> list[str]:
    """The town of every query, in the order of their ranks."""
    return [table.ground[picture].parent.name for picture in np.unique(table.pairs[:, 0])]


def open_real_areas(data: str, cross: str) -> Areas:
    """Full-size data sets: trained on ``data``, tested there and, if given, on ``cross``."""
    source = catalogue.open_data(data)
    tests = {"same": _tested(source)}
    if cross:
        tests["cross"] = _tested(catalogue.open_data(cross))
    return Areas(
        data=source.name,
        train=source.tables["train"],
        tests=tests,
        info=source.info,
        synthetic=bool(source.info.get("synthetic")),
    )


def find_published_settings(method: str, data: str) -> Mapping[str, Any]:
    """The recipe of the data set that ``data`` names (NAME or NAME:ROOT), if there is one."""
    return catalogue.find_published(method, data) or {}


def choose_test_split(data: str) -> str:
    """The split of a data set that published tables test on."""
    return "val" if data.startswith("cvact") else "test"


def _tested(source: catalogue.Data) -> PairTable:
    """The split that GeoDTR+'s tables test on: of CVACT the 8,884 of val, not all of test."""
    for split in (choose_test_split(source.name), "test", "val"):
        if split in source.tables:
            return source.tables[split]
    raise BadData(f"{source.name} has no rows of split test or val to test on.")


SEED = 0  # that of no row


def make_start_row(study: Study, start: Start, row: Row) -> Row:
    """The training that ``row`` begins from, as a row: the start with the row's kind of network."""
    settings = {**study.towns, **(row.small or row.settings)}
    followed = {name: settings[name] for name in start.follows if name in settings}
    label = "-".join(str(value) for value in followed.values())
    return Row(
        name=f"{start.name}-{label}",
        says=start.name,
        settings={**start.settings, **followed},
        method=start.method,
    )


def fill_from_start(model: nn.Module, weights: Path, parts: tuple[str, ...]) -> None:
    """Fill the tensors of ``model`` whose names contain one of ``parts`` (all for ()).

    ``weights`` are a run's; trunks are filled from a whole encoder, too, if it had one for both
    views. Raises BadModel unless there are some tensors and each is there and fits.
    """
    own, found = model.state_dict(), read_tensors(weights)[0]
    wanted = [name for name in own if not parts or any(part in name for part in parts)]
    sources = {name: _source(name, found) for name in wanted}
    unfit = [n for n, f in sources.items() if f not in found or found[f].shape != own[n].shape]
    if unfit or not sources:
        raise BadModel(
            f"{weights} is no beginning for this network: of its {len(sources)} tensors "
            f"(names with {' or '.join(parts) or 'anything'}) {len(unfit)} do not fit, such as "
            f"{(*unfit, 'none')[0]!r}."
        )
    model.load_state_dict({name: found[f] for name, f in sources.items()}, strict=False)


def _source(name: str, found: Container[str]) -> str:
    """Where a run has the tensor: under its own name, or in the encoder a trunk is cut from."""
    _, trunk, rest = name.partition(".trunk.")
    return name if name in found or not trunk else f"model.{uncut(rest)}"


OnStep = Callable[[StepReport], None]


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where runs are kept, and what they may use."""

    runs: Path  # a folder per row and seed below it
    cache: Path | None = None
    workers: int = 1
    device: str = "auto"
    save_every: int = 100

    def folder(self, study: Study, row: Row, seed: int) -> Path:
        """The run folder of a row and seed."""
        return self.runs / study.name / f"{row.name}-{seed}"


def choose_settings(study: Study, row: Row, areas: Areas | None, seed: int) -> dict[str, Any]:
    """The Config's settings of a row: on the towns (None or synthetic) small, else published."""
    if areas is None or areas.synthetic:
        return {**study.towns, **(row.small or row.settings), "seed": seed}
    published = find_published_settings(row.method or study.method, areas.data)
    return {**published, **row.settings, "seed": seed}


def run_row(
    study: Study, row: Row, seed: int, areas: Areas, place: Workplace, on_step: OnStep
) -> Result:
    """The result of a row and seed: read if it is there, else trained (or gone on with).

    One whose pictures were cut by a rule that is no longer used is tested anew.
    """
    folder = place.folder(study, row, seed)
    with RunFolder(folder).lock("crossview study"):
        if done := _read_finished(folder):
            check_result(done, study, row, areas, folder)
            return done
        return _train_row(study, row, seed, areas, place, on_step)


def _read_finished(folder: Path) -> Result | None:
    """The result that is there, if it need not be made anew."""
    done = read_result(folder)
    return None if done is None or done.wrongly_cut else done


def check_result(done: Result, study: Study, row: Row, areas: Areas, folder: Path) -> None:
    """Raise BadData if a result that is there is of other data or settings than are asked for.

    Settings that the method no longer has do not count.
    """
    method = row.method or study.method
    names = catalogue.setting_names(method)

    def complete(settings: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in settings.items() if name in names}
        return asdict(catalogue.configure(method, kept)[1])

    old, new = complete(done.settings), complete(choose_settings(study, row, areas, done.seed))
    differ = [
        f"{name} {old.get(name)}, asked {new.get(name)}"
        for name in {**new, **old}
        if old.get(name) != new.get(name)
    ]
    if name_data(done.data) != name_data(areas.data):
        differ.insert(0, f"trained on {done.data}, asked {areas.data}")
    if differ:
        raise BadData(
            f"{folder} holds a run of another kind: {'; '.join(differ[:3])}.\n"
            "Give another --runs, or delete that folder to train it again."
        )


def _train_row(
    study: Study, row: Row, seed: int, areas: Areas, place: Workplace, on_step: OnStep
) -> Result:
    folder = place.folder(study, row, seed)
    begin = study.start_of(row) if areas.synthetic else None
    request, session, state = _ready(study, row, seed, begin, areas, place, on_step)
    curve, clock = _Curve(folder), _Clock()
    for report in _steps(session, state, on_step):
        clock.steps += 1
        if report.step in {round(share * report.steps) for share in study.tested_at}:
            curve.add(report.step, _tests(study, areas, session, state, request))
    clock.stop_training(state.step)
    ranks: dict[str, list[int]] = {}
    # From the log, not from the reports: a run that was killed goes on with half of them.
    steps = [entry for entry in session.folder.entries()[0] if "loss" in entry]
    tests = _tests(study, areas, session, state, request, ranks)
    result = Result(
        study=study.name,
        row=row.name,
        seed=seed,
        settings=json.loads(json.dumps(choose_settings(study, row, areas, seed))),
        tests=tests,
        losses=_mean_losses(steps[-max(1, len(steps) // 100) :]),
        steps=state.step,
        seconds=round(sum(entry["seconds"] for entry in steps), 1),
        data=areas.data,
        versions=read_versions(),
        curve=curve.points(),
        ranks=ranks if study.planned or study.bench else {},
        towns=areas.towns if study.planned or study.bench else {},
        device=_device_name(session.job.device),
        crops=WHOLE_COLUMNS,
        **(_compute_of(request, state, clock) if study.bench else {}),
    )
    result.write(folder)
    return result


@dataclass
class _Clock:
    """Processor seconds of a training; one that goes on is timed by its steps of today."""

    steps: int = 0
    begun: float = field(default_factory=time.process_time)
    trained: float = 0.0

    def stop_training(self, step: int) -> None:
        """Note what all steps up to ``step`` took, at the pace of those that were timed."""
        now = time.process_time()
        self.trained = (now - self.begun) * step / self.steps if self.steps else 0.0
        self.begun = now

    @property
    def seconds(self) -> float:
        """Of training, and of what came after it up to now."""
        return self.trained + time.process_time() - self.begun


def _compute_of(request: Request, state: TrainState, clock: _Clock) -> dict[str, Any]:
    """What a training took, as fields of a Result."""
    seconds = round(clock.seconds, 1)  # before anything is counted
    recipe = TrainingRecipe.of(request.config)
    pairs = state.step * recipe.batch * recipe.accumulate
    return {
        "parameters": sum(p.numel() for p in state.model.parameters()),
        "pairs": pairs,
        "macs": pairs * count_macs_a_pair(request.page, request.config),
        "processor_s": seconds,
    }


def count_macs_a_pair(page: PageRef, config: Any) -> float:
    """Multiply-adds that training spends on a pair, its copies and all passes included.

    Counted on one batch of four noisy pairs, forward and back, with all turns of a game; the second
    pass of SAM is as large as the first.
    """
    method, counter = page.load(), FlopCounterMode(display=False)
    model = build_without_weights(method, config).train()
    batch = _batch(page, config, method.views(config))[1]
    play = getattr(method, "play", None)
    with counter, sdpa_kernel(SDPBackend.MATH):
        whole = [] if play else [("", method.objective(model, batch, config))]
        for _, losses in play(model, batch, config) if play else whole:
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    passes = 2 if TrainingRecipe.of(config).rho else 1
    return passes * float(counter.get_total_flops() / 2) / len(batch)


class _Curve:
    """Tests along a training, kept beside its log so that a killed run has them when it goes on."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "curve.json"

    def points(self) -> dict[str, Any]:
        """By step, as JSON has it."""
        if not self.path.is_file():
            return {}
        try:
            return read_object(self.path)
        except (OSError, ValueError) as problem:
            raise BadData(
                f"{self.path} cannot be read: {problem}. Delete that folder."
            ) from problem

    def add(self, step: int, tests: Mapping[str, Mapping[str, float]]) -> None:
        """Keep the tests of a step."""
        points = {**self.points(), str(step): tests}
        atomic_write(self.path, json.dumps(points, indent=2) + "\n")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _ready(  # noqa: PLR0913, PLR0917 - what a training needs, and where it begins
    study: Study,
    row: Row,
    seed: int,
    begin: Start | None,
    areas: Areas,
    place: Workplace,
    on_step: OnStep,
) -> tuple[Request, Session, TrainState]:
    """A training of ``row``, at its last save or with the tensors of its start."""
    first = seed if study.start_per_seed else SEED
    weights = _weights_of(study, row, first, begin, areas, place, on_step) if begin else None
    request = _request(study, row, seed, areas, place)
    session = prepare(request)
    state = start_state(session)
    if weights and begin and not state.step:
        fill_from_start(state.model, weights, begin.takes)
    return request, session, state


def _weights_of(  # noqa: PLR0913, PLR0917 - as _ready
    study: Study, row: Row, seed: int, start: Start, areas: Areas, place: Workplace, on_step: OnStep
) -> Path:
    """What ``start`` left for ``row``; it is trained first if it is not there yet."""
    first = make_start_row(study, start, row)
    _, session, state = _ready(study, first, seed, start.before, areas, place, on_step)
    for _ in _steps(session, state, on_step):
        pass
    return session.folder.weights


def _steps(session: Session, state: TrainState, on_step: OnStep) -> Iterator[StepReport]:
    """Train to the end; every step is reported."""
    for report in fit(session, state):
        if isinstance(report, StepReport):
            on_step(report)
            yield report


def read_versions() -> dict[str, str]:
    """Of what a figure may depend on."""
    import timm

    return {
        "crossview": __version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
    }


def _request(study: Study, row: Row, seed: int, areas: Areas, place: Workplace) -> Request:
    method = row.method or study.method
    page, config = catalogue.configure(method, choose_settings(study, row, areas, seed))
    return Request(
        method=method,
        page=page,
        config=config,
        renew=partial(catalogue.renew_settings, method),
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
    tests = {}
    for name, table in areas.tests.items():
        for headings in study.tested_headings:
            views = session.reader.views
            if headings:
                views = replace(views, headings_seen=headings)
            source = Files(table, views)
            reader = replace(session.reader, table=table, source=source, views=views, page=None)
            reader = replace(reader, config={}, places=table.places(), span=None)
            labels = [label_test(name, fov, headings) for fov in study.fovs_deg]
            for label, fov in zip(labels, study.fovs_deg, strict=True):
                tests[label], ranked = measure_row_recalls(
                    state, table, reader, request.workers, fov
                )
                if ranks_by_test is not None:
                    ranks_by_test[label] = ranked.tolist()
            if len(labels) > 1:
                whole = label_test(name, 360.0, headings)
                tests[f"{whole}, mean"] = _mean([tests[label] for label in labels])
    return tests


def _mean(tests: list[dict[str, float]]) -> dict[str, float]:
    """Of every figure, over fields of view."""
    return {key: round(float(np.mean([test[key] for test in tests])), 4) for key in tests[0]}


def measure_row_recalls(
    state: TrainState, table: PairTable, reader: Reader, workers: int, fov: float
) -> tuple[dict[str, float], I64]:
    """Recalls in percent of a table at a field of view, with their counts; and the ranks [Q]."""
    with Loader(reader, workers) as loader:
        vectors = embed_rows(state, range(len(table)), loader, reader.views, fov)
    row_ranks, references = rank_rows(vectors, table, reader.views)
    k = k_at_1_percent(references)
    percent = {n: round(100.0 * recall(row_ranks, cut), 4) for n, cut in recall_cuts(k).items()}
    return {"queries": len(row_ranks), "references": references, "k at 1%": k, **percent}, row_ranks


def _mean_losses(steps: list[dict[str, Any]]) -> Mapping[str, float]:
    """Of every loss over some lines of a log."""
    losses = [list_losses(step) for step in steps]
    return {name: float(np.mean([loss[name] for loss in losses])) for name in losses[-1]}


PLACES = 4  # of a batch that are run
_SEED = 1
_QUARTER = TrainingLength(epochs=4.0, batches=1)  # half way a course and its reverse are the same


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a row's network is, and how long one small batch took."""

    row: str
    parameters: int
    ground_px: tuple[int, int]  # as its views say; a batch may be narrower
    aerial_px: tuple[int, int]
    dim: int
    batch: int  # places of a whole batch
    places: int
    copies: int  # of each place, the first included
    losses: dict[str, float]
    seconds: float


def dry_run_rows(study: Study, rows: tuple[Row, ...], data: str) -> Iterator[DryRun]:
    """Row by row at the full size that ``data`` ("cvusa", ...) is trained with; "" for towns.

    Weights are random, pictures are noise, and of a batch four places are run, with their copies.
    """
    for row in rows:
        method = row.method or study.method
        settings = {**study.towns, **(row.small or row.settings)}
        if data:
            settings = {**find_published_settings(method, data), **row.settings}
        page, config = catalogue.configure(method, settings)
        yield _one(row, page, config)


@dataclass(frozen=True)
class Noise:
    """Pictures of noise that fit the views, the same for the same place: a reader's source."""

    views: Views

    def ground(self, index: int) -> tuple[U8, float]:
        """A panorama of noise and its field of view."""
        spec = self.views.ground
        return _noise(2 * index, (spec.height_px, spec.width_px, 3)), 360.0

    def aerial(self, index: int) -> tuple[U8, float]:
        """An aerial picture of noise and its metres per pixel."""
        spec, pair = self.views.aerial, example_pair(self.views)
        shape = (spec.height_px, spec.width_px, 3) if spec.whole else pair.aerial.shape
        return _noise(2 * index + 1, shape), pair.metres_per_px


def _noise(seed: int, shape: tuple[int, ...]) -> U8:
    return np.random.default_rng((_SEED, seed)).integers(0, 256, shape, dtype=np.uint8)


def _one(row: Row, page: PageRef, config: Any) -> DryRun:
    torch.manual_seed(_SEED)
    begun = time.perf_counter()
    method = page.load()
    model = build_without_weights(method, config).train()
    views = method.views(config)
    size, batch = _batch(page, config, views)
    losses = method.objective(model, batch, config)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        dim = model.eval().aerial(batch.aerial[:1]).shape[1]  # type: ignore[operator]
    return DryRun(
        row=row.name,
        parameters=sum(p.numel() for p in model.parameters()),
        ground_px=(views.ground.height_px, views.ground.width_px),
        aerial_px=(views.aerial.height_px, views.aerial.width_px),
        dim=int(dim),
        batch=size,
        places=len(batch),
        copies=1 + len(batch.more),
        losses={name: round(value.item(), 4) for name, value in losses.items()},
        seconds=round(time.perf_counter() - begun, 1),
    )


def _batch(page: PageRef, config: Any, views: Views) -> tuple[int, Batch]:
    """How many places the row's first batch holds, and the pictures of the first of them."""
    method, recipe = page.load(), TrainingRecipe.of(config)
    table = example_table(4 * recipe.batch)
    generator = torch.Generator().manual_seed(_SEED)
    rows = next(iter(method.batches(table, config, generator, None)))
    reader = Reader(
        table=table,
        source=Noise(views),
        views=views,
        places=table.places(),
        page=page,
        config=asdict(config),
        seed=_SEED,
        span=_QUARTER,
    )
    raw = reader.batch(0, 0, rows[:PLACES])
    return len(rows), to_batch(raw, views, torch.device("cpu"))
