"""A whole training in a run folder: resume, train, log, save, validate, stop when asked.

From a page, its Config and tables to a Session that can start or go on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import FrameType
from typing import Any, get_args

import torch
from torch import nn

from crossview._version import __version__
from crossview.errors import BadData, InvalidValue
from crossview.networks.weight_files import COUNTER
from crossview.pairs.batch import Batch, Views, to_batch
from crossview.pairs.cache import fill_cache, open_cache
from crossview.pairs.checks import drop_unreadable
from crossview.pairs.loading import Loader, Reader, Unreadable, refuse_unreadable
from crossview.pairs.page_ref import PageRef
from crossview.pairs.reading import Decoding, Files, Source, measure_framing
from crossview.pairs.table import PairTable, draw_held_out, frame_views, note_framing
from crossview.training import train_state
from crossview.training.contract import (
    TrainingRecipe,
    in_halves,
    require_divisible,
    require_playable,
)
from crossview.training.device import lay_out, open_device
from crossview.training.loop import StepReport, TrainingJob, epoch_order, train_steps
from crossview.training.mining import make_miner
from crossview.training.ranks import ALONE, TrainingRanks, synchronise_batch_norms
from crossview.training.run_folder import FORMAT, RunFolder, collect_facts, digest_facts, flatten
from crossview.training.validation import Recall, measure_recalls

Report = StepReport | Recall


@dataclass(frozen=True, kw_only=True)
class Session:
    """What to train, where to keep it, and how often to look."""

    job: TrainingJob
    reader: Reader  # of the training rows
    folder: RunFolder
    workers: int
    save_every: int = 200  # steps
    validate_every: int = 0  # steps; 0: at the end only
    until: int = 0  # end after this step of the schedule; 0: with its last
    validation: PairTable | None = None
    validation_reader: Reader | None = None
    skipped: tuple[Unreadable, ...] = ()  # pictures that were left out
    fovs_deg: tuple[float, ...] = (360.0, 90.0)


@dataclass
class StopRequest:
    """Set by SIGTERM or the first Ctrl-C: the step under way is finished and saved."""

    signal: int = 0
    _before: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal:
            raise KeyboardInterrupt  # asked twice: now
        self.signal = number


class Stopped(BaseException):
    """Training was asked to stop; everything up to here is saved. ``signal`` says by what."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped by signal {number} after step {step}; saved")
        self.signal, self.step = number, step


def fit(session: Session, state: train_state.TrainState) -> Iterator[Report]:
    """Train to the end, from the folder's saved state if it has one.

    Yields every StepReport and every Recall. The state is saved every ``save_every`` steps, at
    the end, and when a signal asks to stop; then :class:`Stopped` is raised. Another process that
    trains in the folder is an :class:`InUse`. Of several ranks all read the state, which the first
    writes; a signal to one of them stops all after the same step.
    """
    with ExitStack() as held:
        if session.job.ranks.is_first:
            held.enter_context(session.folder.lock("crossview train"))
        yield from _fit(session, state)


def _fit(session: Session, state: train_state.TrainState) -> Iterator[Report]:
    ranks = session.job.ranks
    with ranks.sharing_errors():
        if session.folder.state.is_file():
            train_state.load_state(state, session.folder.state)
        ranks.require_same({"steps done": state.step}, f"what lies in {session.folder.path}")
    ranks.require_same_weights(state.model)
    was_validated = ranks.first(lambda: session.folder.forget_after(state.step))
    resumed_at = state.step
    if resumed_at and (was_validated or _is_due(session, resumed_at)):  # a kill may have cut it
        yield from _validate(session, state)
    with StopRequest() as stop, Loader(session.reader, session.workers) as loader:
        ended = session.until and state.step >= session.until
        for report in () if ended else train_steps(state, session.job, loader):
            asked = max(ranks.exchange(stop.signal))
            _note(session, _entry(report))
            if asked or report.step % session.save_every == 0:
                save(session, state)
            yield report
            if asked:
                raise Stopped(asked, state.step)
            if _is_due(session, report.step):
                yield from _validate(session, state)
            if report.step == session.until:
                break
        save(session, state)
    if not _is_due(session, state.step) and not (was_validated and state.step == resumed_at):
        yield from _validate(session, state)


def _is_due(session: Session, step: int) -> bool:
    """Whether a step is one of those that are followed by validation."""
    return bool(session.validate_every) and step % session.validate_every == 0


def save(session: Session, state: train_state.TrainState) -> None:
    """Write the state, then the weights to use; of several ranks, what all of them have."""
    session.job.ranks.require_same_weights(state.model)
    if not session.job.ranks.is_first:
        return
    train_state.save_state(state, session.folder.state)
    train_state.save_weights(state.averaged or state.model.state_dict(), session.folder.weights)


def _validate(session: Session, state: train_state.TrainState) -> Iterator[Recall]:
    if session.validation is None or session.validation_reader is None:
        return
    with Loader(session.validation_reader, 0) as loader:
        recalls = measure_recalls(
            *(state, session.validation, loader, session.job.views, session.fovs_deg),
            ranks=session.job.ranks,
        )
    for recall in recalls:
        _note(session, {"validation": asdict(recall), "step": recall.step})
        yield recall


def _note(session: Session, entry: dict[str, Any]) -> None:
    if session.job.ranks.is_first:
        session.folder.append(entry)


def list_losses(entry: Mapping[str, Any]) -> dict[str, float]:
    """The losses of a step by name, from its line of the log."""
    return {name: value for name, value in entry.items() if name not in _BESIDE_LOSSES}


def _entry(report: StepReport) -> dict[str, Any]:
    entry: dict[str, Any] = {"step": report.step, "epoch": report.epoch}
    entry |= {**report.losses, "lr": report.lr}
    entry |= {"gradient_norm": report.gradient_norm, "seconds": round(report.seconds, 4)}
    if report.fov_deg is not None:
        entry["fov_deg"] = [round(fov, 2) for fov in report.fov_deg]
    return entry | {"waited_s": round(report.waited_s, 4), "pairs": report.pairs}


_BESIDE_LOSSES = {
    *("step", "epoch", "lr", "gradient_norm", "seconds", "waited_s", "pairs", "fov_deg"),
}

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One training, as asked for."""

    method: str  # as given: a name or a path
    page: PageRef
    config: Any
    data: str  # as given
    tables: Mapping[str, PairTable]
    info: Mapping[str, Any]
    out: Path
    device: str = "auto"
    workers: int = 1
    cache: Path | None = None
    decoding: str = "exact"  # or "fast"
    skip_unreadable: bool = False
    val_share: float = 0.05  # of the training places, where the data has no val split
    val_rows: int = 1000  # at most so many
    save_every: int = 200
    validate_every: int = 0
    until: int = 0
    ranks: TrainingRanks = ALONE
    renew: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    """The settings of an older run of the method as they are noted today; None: as the page's
    defaults complete them."""


def split_rows(request: Request, seed: int) -> tuple[PairTable, PairTable | None]:
    """Training rows and validation rows; a ``val`` split of the data comes before a share."""
    if "train" not in request.tables:
        raise BadData(f"{request.data} has no rows of split train.")
    train, val = request.tables["train"], request.tables.get("val")
    if val is not None:
        return train, _at_most(val, request.val_rows, seed)
    away = draw_held_out(train, request.val_share, seed)
    if not away.any():
        return train, None
    return train.take(~away), _at_most(train.take(away), request.val_rows, seed)


def prepare(request: Request, progress: Progress = lambda done, total: None) -> Session:
    """Check or create the run folder, fill the cache, and put the session together.

    Of several ranks the first creates the folder, once all have told the same of the training; what
    one of them fails with, all of them do.
    """
    with request.ranks.sharing_errors():
        return _prepare(request, progress)


def _prepare(request: Request, progress: Progress) -> Session:
    page, ranks = request.page.load(), request.ranks
    recipe, views = TrainingRecipe.of(request.config), page.views(request.config)
    require_playable(page, recipe)
    require_divisible(page, recipe, ranks.count)
    device = open_device(ranks.name_device(request.device))
    if request.decoding not in get_args(Decoding):
        raise InvalidValue(f"--decoding is {request.decoding!r}; allowed: exact, fast.")
    skipped: tuple[Unreadable, ...] = ()
    if request.skip_unreadable:
        request, skipped = _without_unreadable(request, progress)
    train, val = split_rows(request, recipe.seed)
    if check := getattr(page, "check", None):
        check(train, request.config)
    shown = measure_framing(train) if views.ground.whole or views.aerial.whole else train.framing
    folder = RunFolder(request.out)
    tables = {"train": train} | ({} if val is None else {"val": val})
    record = _record(request, train, val, note_framing(views, shown))
    _require_same_training(request, record, tables, device)
    ranks.first(
        lambda: folder.begin(
            record, dict(request.info), tables, request.renew or _with_defaults(page)
        )
    )
    views = frame_views(views, shown)
    reader = _reader(request, train, views, recipe.seed, progress)
    val_reader = None
    if val is not None:
        val_reader = replace(
            _reader(request, val, views, recipe.seed, progress), page=None, config={}
        )
    reader = replace(reader, span=recipe.span(len(train)), share=ranks.share)
    ranks = ranks.while_training()
    mine = make_miner(reader, request.workers, ranks)
    return Session(
        job=TrainingJob(
            method=page,
            config=request.config,
            recipe=recipe,
            views=views,
            table=train,
            device=device,
            mine=mine if recipe.refresh_epochs else None,
            ranks=ranks,
        ),
        reader=reader,
        folder=folder,
        workers=request.workers,
        save_every=request.save_every,
        validate_every=request.validate_every,
        until=request.until,
        validation=val,
        validation_reader=val_reader,
        skipped=skipped,
    )


def start_state(session: Session) -> train_state.TrainState:
    """The network on its device, seeded; pretrained weights are fetched only for a new run.

    Of several ranks the first fetches them, and gives them to the others.
    """
    with session.job.ranks.sharing_errors():
        return _start_state(session)


def _start_state(session: Session) -> train_state.TrainState:
    job = session.job
    torch.manual_seed(job.recipe.seed)
    begun = session.folder.state.is_file()
    if begun or not job.ranks.is_first:
        model = build_without_weights(job.method, job.config)
    else:
        model = job.method.build(job.config)
    model = lay_out(model, job.device)
    measure = getattr(job.method, "measure", None)
    if measure and not begun and job.ranks.is_first:
        measure(model, _read_plain_batches(session))
    model = synchronise_batch_norms(model, job.ranks, job.device)
    job.ranks.exchange("built")  # or why not
    job.ranks.broadcast(model.state_dict().values())
    rate = getattr(job.method, "rate", lambda name, config: 1.0)
    state = train_state.make_state(model, job.recipe, lambda name: rate(name, job.config))
    if job.recipe.mine_from == "epoch" and in_halves(job.method):
        state.memory = train_state.VectorMemory(len(job.table))
    return state


def _read_plain_batches(session: Session) -> Iterator[Batch]:
    """The first batches of a training without its augmentation, on its device."""
    job = session.job
    reader = replace(session.reader, page=None, config={}, share=ALONE.share)
    with Loader(reader, session.workers) as loader:
        for raw in loader.epoch(0, epoch_order(job, 0, None)):
            yield to_batch(raw, job.views, job.device)


def build_without_weights(page: Any, config: Any) -> nn.Module:
    """The network about to be filled from a file: no pretrained weights are looked for."""
    config = replace(config, **name_no_weights(config))
    model: nn.Module = page.build(config)
    return model


def list_state(page: Any, config: Any) -> dict[str, torch.Tensor]:
    """The shapes and types of a network's tensors: on no device, except for counters, at zero.

    No memory is taken and no weight is drawn, so what a file only claims to hold costs nothing.
    """
    with torch.device("meta"):
        state = build_without_weights(page, config).state_dict()
    return {
        name: torch.zeros(value.shape, dtype=value.dtype) if name.endswith(COUNTER) else value
        for name, value in state.items()
    }


def name_no_weights(config: Any) -> dict[str, str]:
    """The settings of a Config that say where weights come from, all "none"."""
    names = ("weights", "trunk_weights")
    return {field.name: "none" for field in fields(config) if field.name in names}


def _with_defaults(page: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Settings of an older run with those that the page has got since, at their defaults."""
    return lambda settings: {**asdict(page.Config()), **settings}


def _reader(
    request: Request, table: PairTable, views: Views, seed: int, progress: Progress
) -> Reader:
    files = Files(table, views, request.decoding)  # type: ignore[arg-type]
    source: Source = files
    if request.cache is not None:
        source = _open_cache(request.cache, files, request.workers, progress)
    return Reader(
        table=table,
        source=source,
        views=views,
        places=table.places(),
        page=request.page,
        config=asdict(request.config),
        seed=seed,
    )


def _without_unreadable(
    request: Request, progress: Progress
) -> tuple[Request, tuple[Unreadable, ...]]:
    """The request without the pictures that cannot be read, and those; every picture is opened."""
    tables, lost = dict(request.tables), []
    for split in {"train", "val"} & set(tables):
        tables[split], broken = drop_unreadable(tables[split], request.workers, progress)
        lost += broken
    return replace(request, tables=tables), tuple(lost)


def _open_cache(folder: Path, files: Files, workers: int, progress: Progress) -> Source:
    """The pictures from the cache, which is filled first; refused if some cannot be read."""
    for filled in fill_cache(folder, files, workers):
        progress(filled.done, filled.total)
    refuse_unreadable(filled.unreadable, filled.total)
    return open_cache(folder, files)


def _record(
    request: Request, train: PairTable, val: PairTable | None, framing: dict[str, Any]
) -> dict[str, Any]:
    """config.json; the digest of a page from outside is part of it, because pages get edited."""
    digest = request.page.digest
    page = {"page": digest} if digest else {}
    mode = {} if request.decoding == "exact" else {"decoding": request.decoding}
    return {
        **page,
        **mode,
        "format": FORMAT,
        "crossview": __version__,
        "method": request.method,
        "config": asdict(request.config),
        "data": request.data,
        **({"framing": framing} if framing else {}),
        "train": {"rows": len(train)},
        "val": {"rows": len(val)} if val is not None else None,
    }


def _require_same_training(
    request: Request,
    record: Mapping[str, Any],
    tables: Mapping[str, PairTable],
    device: torch.device,
) -> None:
    """That all ranks were asked for the same, and see the same pairs; else InvalidValue."""
    if request.ranks.count == 1:
        return
    facts = {split: digest_facts(collect_facts(table)) for split, table in tables.items()}
    schedule = ("save_every", "validate_every", "until")
    free = {"data"} | ({"method"} if "page" in record else set())  # where they lie, not what
    what = {
        **{name: value for name, value in record.items() if name not in free},
        **{name: getattr(request, name) for name in schedule},
        "pairs": facts,
        "device": device.type,
        "torch": torch.__version__,
    }
    request.ranks.require_same(flatten(what), "this training")


def _at_most(table: PairTable, rows: int, seed: int) -> PairTable:
    if len(table) <= rows:
        return table
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))
    return table.take(sorted(order[:rows].tolist()))
