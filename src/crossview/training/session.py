"""A whole training in a run folder: resume, train, log, save, validate, stop when asked."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import Any

from crossview.pairs.loading import Loader, Reader
from crossview.pairs.pictures import Unreadable
from crossview.pairs.table import PairTable
from crossview.training.loop import Job, StepReport, train_steps
from crossview.training.run_folder import RunFolder
from crossview.training.state import TrainState, load_state, save_state, save_weights
from crossview.training.validation import Recall, recalls

Report = StepReport | Recall


@dataclass(frozen=True, kw_only=True)
class Session:
    """What to train, where to keep it, and how often to look."""

    job: Job
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


def fit(session: Session, state: TrainState) -> Iterator[Report]:
    """Train to the end, from the folder's saved state if it has one.

    Yields every StepReport and every Recall. The state is saved every ``save_every`` steps, at
    the end, and when a signal asks to stop; then :class:`Stopped` is raised. Another process that
    trains in the folder is an :class:`InUse`.
    """
    with session.folder.locked("crossview train"):
        yield from _fitted(session, state)


def _fitted(session: Session, state: TrainState) -> Iterator[Report]:
    if session.folder.state.is_file():
        load_state(state, session.folder.state)
    session.folder.forget_after(state.step)
    with StopRequest() as stop, Loader(session.reader, session.workers) as loader:
        ended = session.until and state.step >= session.until
        for report in () if ended else train_steps(state, session.job, loader):
            session.folder.append(_entry(report))
            if stop.signal or report.step % session.save_every == 0:
                save(session, state)
            yield report
            if stop.signal:
                raise Stopped(stop.signal, state.step)
            if session.validate_every and report.step % session.validate_every == 0:
                yield from _validate(session, state)
            if report.step == session.until:
                break
        save(session, state)
    if not (session.validate_every and state.step % session.validate_every == 0):
        yield from _validate(session, state)


def save(session: Session, state: TrainState) -> None:
    """Write the state, then the weights to use."""
    save_state(state, session.folder.state)
    save_weights(state.averaged or state.model.state_dict(), session.folder.weights)


def _validate(session: Session, state: TrainState) -> Iterator[Recall]:
    if session.validation is None or session.validation_reader is None:
        return
    with Loader(session.validation_reader, 0) as loader:
        found = recalls(state, session.validation, loader, session.job.views, session.fovs_deg)
    for recall in found:
        session.folder.append({"validation": asdict(recall), "step": recall.step})
        yield recall


def losses_in(entry: Mapping[str, Any]) -> dict[str, float]:
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
