"""Workers: processes that embed units of an index that another one has begun.

``crossview index`` cuts the units, and puts them together when all are finished. Who embeds them is
left open: that process itself, others of this machine (:class:`LocalCrew`), or ``crossview worker``
wherever the folder is seen: started by hand, by SLURM, by torchrun. All of them find what is to be
done in the folder, and prove before they begin that they would do it alike.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossview._version import __version__
from crossview.errors import (
    BadIndex,
    CrossviewError,
    ModelMismatch,
    UnknownName,
    UsageError,
    require,
)
from crossview.imagery.windows import count_windows
from crossview.index.build import ADDING_SUFFIX, Crew, IndexJob, Progress, drain, open_job
from crossview.index.index_options import IndexOptions, collect_settings
from crossview.index.store import MANIFEST_NAME, PARTIAL_SUFFIX
from crossview.index.units import Order, SharedUnits, find_kept, read_order

_LOOK_S = 1.0  # how often it is looked for an index that nobody has begun yet
_ANSWER_S = 10.0  # of a Ray cluster
_WHOSE = {"model": "model", "imagery": "imagery", "imagery_options": "way to read the imagery"}
_FIRST = "first_segment"  # of the settings of an order; no matter to who embeds


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """How a worker works. Empty: as the one that began the index says.

    ``sources`` and ``model``: where the same imagery and the same model are on this machine.
    ``wait_s``: how long to wait for the index to be begun.
    """

    sources: Sequence[str | Path] = ()
    model: str | Path = ""
    threads: int = 0
    wait_s: float = 0.0

    def __post_init__(self) -> None:
        require(self.wait_s >= 0.0, f"--wait {self.wait_s:g}: give seconds, 0 or more.")


def work(
    address: str | Path, options: WorkerOptions | None = None, progress: Progress | None = None
) -> int | None:
    """Embed units of the index ``address`` until all are finished; how many windows we did.

    None where the index is complete already. :class:`BadIndex` where nobody has begun one,
    :class:`ModelMismatch` for another model, :class:`UsageError` for another version of crossview,
    other imagery or other options than those that it was begun with.
    """
    options = options or WorkerOptions()
    folder = _await_order(Path(address), options.wait_s)
    if folder is None:
        return None
    order = read_order(folder)
    if order is None:  # completed in this moment
        return None
    require_version(order)
    with open_ordered(order, options) as job:
        require_alike(order, job, folder)
        return drain(SharedUnits(folder, order), job, progress, kept=find_kept(order))


def _await_order(out: Path, wait_s: float) -> Path | None:
    """The folder in which the index is being built; None if it is complete."""
    end = time.monotonic() + wait_s
    while True:
        if (folder := find_begun(out)) is not None:
            return folder
        if (out / MANIFEST_NAME).is_file():
            return None
        if time.monotonic() >= end:
            raise BadIndex(
                f"Nobody has begun an index {out}: there is no {out.name}{PARTIAL_SUFFIX}.\n"
                "Begin it with: crossview index IMAGERY --out "
                f"{out.name} --on elsewhere   (--wait 600 here waits ten minutes for that)"
            )
        time.sleep(min(_LOOK_S, max(0.0, end - time.monotonic())))


def find_begun(out: Path) -> Path | None:
    """The folder in which the index ``out`` is being built, or added to."""
    if out.name.endswith((PARTIAL_SUFFIX, ADDING_SUFFIX)):
        candidates = [out]
    else:
        ends = (PARTIAL_SUFFIX, ADDING_SUFFIX)
        candidates = [out.with_name(out.name + end) for end in ends]
    return next((folder for folder in candidates if read_order(folder) is not None), None)


def require_version(order: Order) -> None:
    """Raise UsageError unless this is the version of crossview that began the index."""
    if order.version != __version__:
        raise UsageError(
            f"The index was begun by crossview {order.version}; this worker is {__version__}.\n"
            "Install the same version everywhere: others may cut windows differently."
        )


@contextmanager
def open_ordered(order: Order, options: WorkerOptions) -> Iterator[IndexJob]:
    """Open imagery and model as the order says, or where ``options`` have them."""
    model = options.model or order.model
    if not model:
        raise UsageError("The index was begun with a model that has no name; give --model FOLDER.")
    tiling = order.tiling
    wanted = IndexOptions(
        footprint_m=tiling.footprint_m,
        stride_m=tiling.stride_m,
        near=tiling.near,
        within_m=tiling.within_m,
        batch=order.batch,
        segment_windows=order.segment_windows,
        runtime=order.runtime,
        precision=order.precision,
    )
    sources, threads = options.sources or order.sources, options.threads
    with open_job(sources, model, wanted, order.source_options, threads=threads) as job:
        yield job


def require_alike(order: Order, job: IndexJob, folder: Path) -> None:
    """Refuse a job whose vectors would not be those that the index was begun with."""
    ours: dict[str, Any] = collect_settings(
        job.imagery.info, job.embedder.fingerprint, job.tiling, job.options
    )
    theirs = {k: v for k, v in order.settings.items() if k not in {_FIRST, "heights"}}
    other = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    if "model" in other:
        raise ModelMismatch(
            f"{folder} was begun with the model {order.model} ({theirs['model'][:12]}); "
            f"this worker has {job.embedder.fingerprint[:12]}.\n"
            "Give it the same model: --model FOLDER"
        )
    if not other and count_windows(job.imagery, job.tiling) != order.windows:
        other = ["windows"]
    if other:
        what = ", ".join(
            f"{_WHOSE.get(name, name)} ({theirs.get(name)} there, {ours.get(name)} here)"
            for name in other
        )
        raise UsageError(
            f"{folder} was begun with another {what[:300]}.\n"
            "Name, size and time of change of every file of imagery must be the same here: share "
            "the folder, or copy it with its times, and give --source where it lies elsewhere."
        )


@dataclass(frozen=True)
class LocalCrew:
    """Other processes of this machine, ``count`` in all with us; threads are divided among them.

    They end with us, however we end.
    """

    count: int
    threads: int = 0

    def __post_init__(self) -> None:
        require(self.count >= 1, f"--workers {self.count}: give 1 or more.")

    @property
    def embeds_here(self) -> bool:
        """See ``build.Crew``."""
        return True

    @contextmanager
    def hire(self, units: SharedUnits) -> Iterator[Callable[[], None]]:
        """See ``build.Crew``: those who die are not replaced; what they had, the others do."""
        start = multiprocessing.get_context("spawn").Process
        hired = [
            start(target=_work_beside, args=(units.folder.parent, self.threads), daemon=True)
            for _ in range(self.count - 1)
        ]
        for process in hired:
            process.start()
        try:
            yield lambda: None
        finally:
            for process in hired:
                process.join(None if units.is_complete() else 0.0)
                process.terminate()


@dataclass(frozen=True)
class Elsewhere:
    """Whoever starts ``crossview worker``, here or on other machines, now or later."""

    threads: int = 0
    embeds_here: bool = False

    @staticmethod
    @contextmanager
    def hire(_: SharedUnits) -> Iterator[Callable[[], None]]:
        """See ``build.Crew``."""
        yield lambda: None


@dataclass(frozen=True)
class RayCrew:
    """Tasks of a Ray cluster: workers on whatever nodes it has, which all see the folder.

    ``address``: of a running cluster (``auto``: the one of this machine); "": one of this machine
    alone is started, and ends with us. ``count`` 0: as many tasks as there are processors for. A
    task whose node is lost is begun again by Ray, and what it had in hand has a lease that ends.
    """

    address: str
    count: int
    threads: int
    embeds_here: bool = False

    @contextmanager
    def hire(self, units: SharedUnits) -> Iterator[Callable[[], None]]:
        """See ``build.Crew``."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to its makers
        import ray  # heavy, and of an extra

        try:
            self._require_answer()
            ray.init(
                address=self.address or "local",
                include_dashboard=None if self.address else False,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (OSError, ValueError) as problem:
            raise UsageError(
                f"--on ray:{self.address}: there is no Ray cluster ({problem}).\n"
                "Start one with: ray start --head   Or give --on ray, for one of this machine."
            ) from problem
        try:
            count = self.count or self._count_room(ray.cluster_resources())
            task = ray.remote(num_cpus=self.threads, max_retries=-1)(_work_on_ray)
            tasks = [task.remote(str(units.folder.parent), self.threads) for _ in range(count)]

            def require_work() -> None:
                ended, working = ray.wait(tasks, num_returns=len(tasks), timeout=0)
                said = [text for text in ray.get(ended) if text]
                if not working and not units.is_complete():
                    units.look()
                if not working and not units.is_complete():
                    why = said[0] if said else "they have ended"
                    raise CrossviewError(f"No worker of the Ray cluster is left: {why}")

            yield require_work
        finally:
            ray.shutdown()

    def _require_answer(self) -> None:
        """OSError where nobody listens: Ray itself would try for minutes."""
        host, colon, port = self.address.rpartition("://")[2].rpartition(":")
        if colon:
            socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()

    def _count_room(self, resources: dict[str, float]) -> int:
        return max(1, int(resources.get("CPU", 1.0) // self.threads))


def _work_on_ray(folder: str, threads: int) -> str:
    """A worker on a node of a Ray cluster; what is wrong, or nothing."""
    try:
        work(folder, WorkerOptions(threads=threads))
    except CrossviewError as problem:
        return f"{os.uname().nodename}: {problem}" if hasattr(os, "uname") else str(problem)
    return ""


def choose_crew(where: str | None, workers: int, threads: int) -> Crew:
    """Who embeds: ``workers`` processes of this machine, or what ``--on`` names."""
    if where is None:
        return LocalCrew(workers, divide_threads(threads, workers))
    if where == "elsewhere":
        return Elsewhere(threads)
    engine, _, address = where.partition(":")
    if engine == "ray":
        return RayCrew(address, workers if workers > 1 else 0, max(1, threads))
    raise UnknownName("--on", where, ["elsewhere", "ray", "ray:ADDRESS"])


def divide_threads(threads: int, workers: int) -> int:
    """Threads of each of so many workers; 0, which means all, stays so for one."""
    if workers <= 1:
        return threads
    return max(1, (threads or os.cpu_count() or 1) // workers)


def _work_beside(folder: Path, threads: int) -> None:
    """A worker of this machine, in a process of its own."""
    parent = multiprocessing.parent_process()
    if parent is not None:  # the system ends no child with its parent
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        work(folder, WorkerOptions(threads=threads))
    except (CrossviewError, KeyboardInterrupt):
        os._exit(1)  # we are told by the one that began it, who meets the same


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
