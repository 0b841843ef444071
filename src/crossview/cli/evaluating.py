"""What ``crossview evaluate`` and ``crossview train --test`` do."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossview.cli import console, telling
from crossview.cli.runs import open_run
from crossview.errors import InvalidValue, require

if TYPE_CHECKING:
    from crossview.evaluation.conditions import Condition
    from crossview.evaluation.embedding import Embedded
    from crossview.evaluation.grid import Subject
    from crossview.evaluation.record import Evaluation
    from crossview.evaluation.task import Rules
    from crossview.pairs.table import PairTable
    from crossview.retrieval.embedder import Embedder
    from crossview.views.spec import Representation


@dataclass(frozen=True, kw_only=True)
class Request:
    """One evaluation, as asked for."""

    data: str
    split: str = "test"
    out: Path | None = None
    label: str = ""
    radius_m: float = 0.0
    fov: str = ""  # 360, or what made the given vectors
    headings: str = ""  # the model's
    seeds: int = 1
    corrupt: tuple[str, ...] = ()
    hard_samples: bool = False
    representation: str = ""  # the model's
    off_protocol: bool = False
    page: Path | None = None
    decoding: str = "exact"
    cache: Path | None = None
    skip_unreadable: bool = False
    batch: int = 32
    workers: int = 1
    device: str = "auto"
    threads: int = 0
    quiet: bool = False


def evaluate_model(request: Request, model: str) -> None:
    """Embed the split's pictures under every condition, write a record each, print figures."""
    from crossview import wiring
    from crossview.evaluation.conditions import conditions_of
    from crossview.evaluation.grid import measured, with_hard_samples
    from crossview.evaluation.headline import means_over_fields, write_means

    require(request.batch >= 1, f"--batch must be at least 1, got {request.batch}.")
    require(request.decoding in ("exact", "fast"), "--decoding takes exact or fast.")
    embedder, subject = _opened(request, model)
    headings = request.headings or subject.info.headings_seen
    conditions = conditions_of(request.fov or "360", headings, request.seeds, list(request.corrupt))
    table = _table(request, check_files=not request.skip_unreadable)
    table = wiring.shown(table, request.data, subject.info.ground, _trained_on(subject))
    shown = with_hard_samples(conditions) if request.hard_samples else conditions
    embedded = _embedded(request, table, embedder, shown)
    records = []
    for condition, record in measured(subject, embedded):
        _write(request, record, condition.folder if len(conditions) > 1 else "")
        records.append(record)
    means = means_over_fields(records)
    if request.out is not None and means:
        console.note(f"Wrote {write_means(request.out, means)}", quiet=request.quiet)
    telling.tell(records, means)
    for text in subject.warnings:
        console.warn(text)


def _trained_on(subject: Subject) -> str:
    return str(subject.model.get("training_data", ""))


def folder_name(data: str) -> str:
    """A name for a folder from ``NAME:ROOT``."""
    kind, _, root = data.partition(":")
    return "-".join(filter(None, [kind if root else "", Path(root or kind).stem]))


def evaluate_elsewhere(
    request: Request, queries: Path | None, references: Path | None, ranking: Path | None
) -> None:
    """The same figures and record for vectors or rankings that another program made."""
    from crossview.evaluation.given import answers_of_ranking, answers_of_vectors
    from crossview.evaluation.measure import About, record_of
    from crossview.evaluation.record import Protocol
    from crossview.evaluation.task import task_of

    table = _table(request, check_files=False)
    task = task_of(table, request.data, request.split, _rules(request))
    warnings: list[str] = []
    if ranking is not None:
        answers, name = answers_of_ranking(task, ranking), ranking.stem
    elif queries is not None and references is not None:
        answers, warnings = answers_of_vectors(task, queries, references)
        name = queries.parent.name or queries.stem
    protocol = Protocol(relation=task.relation.words, **_told(request))
    about = About(
        label=request.label or name, method="elsewhere", protocol=protocol, command=_command()
    )
    record = record_of(task, answers, about)
    _write(request, record, "")
    telling.tell([record])
    for text in warnings:
        console.warn(text)


def _told(request: Request) -> dict[str, Any]:
    """What the user says that the queries of given vectors or rankings show."""
    from crossview.evaluation.conditions import conditions_of

    given = "as given"
    told: dict[str, Any] = {"headings": given, "fov_deg": None, "representation": given}
    if request.representation:
        told["representation"] = _representation(request.representation)
    if request.fov or request.headings:
        cells = conditions_of(request.fov or "360", request.headings or "unknown", 1, [])
        require(len(cells) == 1, "given vectors show one field of view; give one --fov for each.")
        told |= {"headings": cells[0].headings, "fov_deg": cells[0].fov_deg}
    return told


def _opened(request: Request, model: str) -> tuple[Embedder, Subject]:
    """The network and who it is; a representation that it was not trained on is refused."""
    from crossview.evaluation.grid import Subject

    embedder, facts = _run(request, model) if _is_run(model) else _exported(request, model)
    info, off = embedder.info, []
    asked = _representation(request.representation or info.ground.representation)
    if asked != info.ground.representation:
        told = f"trained on {info.ground.representation} pictures, shown {asked} ones"
        if not request.off_protocol:
            raise InvalidValue(
                f"{model} was {told}: its figures would say little.\n"
                "Leave --representation away, or add --off-protocol, which marks them."
            )
        off.append(told)
        info = replace(info, ground=replace(info.ground, representation=asked))
        embedder.info = info  # type: ignore[misc]
    return embedder, Subject(
        info=info,
        label=request.label or facts["label"],
        method=facts["method"],
        data=request.data,
        split=request.split,
        rules=_rules(request),
        model=facts["model"],
        decoding=request.decoding,
        selection=facts["selection"],
        off_protocol=tuple(off),
        command=_command(),
    )


def _representation(name: str) -> Representation:
    known: dict[str, Representation] = {"narrow": "narrow", "padded": "padded"}
    if name in known:
        return known[name]
    raise InvalidValue(f"--representation takes narrow or padded, got {name!r}.")


def _is_run(model: str) -> bool:
    from crossview.training.run import CONFIG_NAME

    return (Path(model) / CONFIG_NAME).is_file()


def _exported(request: Request, model: str) -> tuple[Embedder, dict[str, Any]]:
    from crossview.retrieval.models import open_model

    embedder = open_model(model, threads=request.threads)
    facts = {"label": embedder.info.name, "method": embedder.info.name}
    known = {"training_data": embedder.info.training_data}
    return embedder, {
        **facts,
        "model": _model(embedder) | known,
        "selection": "as its maker chose",
    }


def _run(request: Request, model: str) -> tuple[Embedder, dict[str, Any]]:
    from crossview.training.embedder import RunEmbedder
    from crossview.training.precision import open_device

    if request.threads:
        import torch

        torch.set_num_threads(request.threads)
    run = open_run(Path(model), request.page)
    device = open_device(request.device)
    embedder = RunEmbedder(run.folder, run.page, run.config, run.views, device)
    config = run.record
    known = {"training_data": config["data"], "run": str(model), "config": config["config"]}
    return embedder, {
        "label": run.folder.path.resolve().name,
        "method": Path(config["method"]).stem,
        "model": _model(embedder) | known,
        "selection": "last step of the training; no split chose it",
    }


def _model(embedder: Embedder) -> dict[str, Any]:
    info = embedder.info
    return {
        "fingerprint": embedder.fingerprint,
        "name": info.name,
        "dim": info.dim,
        "azimuth_bins": info.azimuth_bins,
        "headings_seen": info.headings_seen,
        "fov_seen_deg": list(info.fov_seen_deg),
        "synthetic": info.synthetic,
    }


def _rules(request: Request) -> Rules:
    from crossview import wiring

    require(request.radius_m >= 0.0, f"--radius must be metres above 0, got {request.radius_m:g}.")
    return replace(wiring.rules(request.data), radius_m=request.radius_m)


def _table(request: Request, *, check_files: bool) -> PairTable:
    from crossview import wiring

    data = wiring.open_data(request.data, check_files=check_files)
    for text in data.notes:
        console.note(f"{request.data}: {text}.", quiet=request.quiet)
    return data.table(request.split)


def _embedded(
    request: Request, table: PairTable, embedder: Embedder, conditions: list[Condition]
) -> Embedded:
    from crossview.evaluation.embedding import How, embed, views_of
    from crossview.pairs.reading import Files, Source

    files = Files(table, views_of(embedder.info), request.decoding)  # type: ignore[arg-type]
    source: Source = files
    title = {"unit": "pictures", "quiet": request.quiet}
    if request.cache is not None:
        from crossview.pairs.cache import fill_cache, open_cache

        with console.progress("read pictures", **title) as bar:  # type: ignore[arg-type]
            for filled in fill_cache(request.cache, files, request.workers):
                bar.to(filled.done, filled.total)
        source = open_cache(request.cache, files)
    with console.progress("embed", **title) as bar:  # type: ignore[arg-type]
        how = How(
            source=source,
            workers=request.workers,
            batch=request.batch,
            skip_unreadable=request.skip_unreadable,
            progress=bar.to,
        )
        return embed(table, embedder, conditions, how)


def _write(request: Request, record: Evaluation, folder: str) -> None:
    if request.out is not None:
        record.write(request.out / folder)
        console.note(f"Wrote {request.out / folder}", quiet=request.quiet)


def _command() -> str:
    return shlex.join(["crossview", *sys.argv[1:]])
