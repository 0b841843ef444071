"""A model measured on a data set, by their names: what ``crossview evaluate`` computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from crossview import catalogue
from crossview.errors import InvalidValue, require
from crossview.evaluation.conditions import Condition, parse_conditions
from crossview.evaluation.embed import (
    EmbeddedTable,
    EmbedSettings,
    Subject,
    add_hard_samples,
    embed,
    evaluate_conditions,
    make_views,
)
from crossview.evaluation.evaluation_record import Evaluation
from crossview.evaluation.task import Rules
from crossview.model import Embedder, Model, open_model
from crossview.pairs.cache import fill_cache, open_cache
from crossview.pairs.reading import Files, Source
from crossview.pairs.table import PairTable
from crossview.training.run_folder import CONFIG_NAME

if TYPE_CHECKING:
    from crossview.views.spec import Representation


Note = Callable[[str], None]  # takes a sentence on what was noticed
JobProgress = Callable[[str, int, int], None]  # takes a job, how many pictures are done, and in all


@dataclass(frozen=True, kw_only=True)
class AssessmentOptions:
    """What a model is measured on, and how; "" means: as the model was trained."""

    data: str  # NAME:ROOT of a benchmark, pairs:FILE or town
    split: str = "test"
    label: str = ""  # name in tables; the model's
    radius_m: float = 0.0  # everything within so many metres is right
    fov: str = ""  # degrees with commas, or "any"; 360
    headings: str = ""  # aligned, unknown, or degrees
    seeds: int = 1
    corrupt: tuple[str, ...] = ()  # NAME or NAME:SEVERITY
    hard_samples: bool = False
    representation: str = ""  # narrow or padded
    off_protocol: bool = False  # allow what the model was not trained for
    method: Path | None = None  # the page of a run from outside of the package
    decoding: str = "exact"  # or fast
    cache: Path | None = None
    skip_unreadable: bool = False
    batch: int = 32
    workers: int = 1
    device: str = "auto"  # of a run
    threads: int = 0  # of the CPU; 0: all
    command: str = ""  # kept in the record


class AssessmentValues(TypedDict, total=False):
    """The keywords of ``crossview.evaluate``: those of AssessmentOptions."""

    split: str
    label: str
    radius_m: float
    fov: str | float | Sequence[float]
    headings: str | float
    seeds: int
    corrupt: str | Sequence[str]
    hard_samples: bool
    representation: str
    off_protocol: bool
    method: str | Path | None
    decoding: str
    cache: str | Path | None
    skip_unreadable: bool
    batch: int
    workers: int
    device: str
    threads: int


def read_options(data: str, values: AssessmentValues) -> AssessmentOptions:
    """Options from keywords, in which several texts or numbers may stand for a list of them."""
    plain: dict[str, Any] = {"workers": 0, **values}  # 0: processes need a guarded main module
    for name in ("fov", "headings"):
        value = plain.get(name, "")
        parts = [value] if isinstance(value, str | float | int) else value
        plain[name] = ",".join(part if isinstance(part, str) else f"{part:g}" for part in parts)
    corrupt = plain.get("corrupt", ())
    plain["corrupt"] = (corrupt,) if isinstance(corrupt, str) else tuple(corrupt)
    for name in ("method", "cache"):
        if plain.get(name) is not None:
            plain[name] = Path(plain[name])
    return AssessmentOptions(data=data, **plain)


@dataclass(frozen=True, kw_only=True, eq=False)
class Assessment:
    """A model, opened, and the table and conditions that it is measured on."""

    options: AssessmentOptions
    embedder: Embedder
    subject: Subject
    table: PairTable
    conditions: Sequence[Condition]

    def measure(self, progress: JobProgress) -> Iterator[tuple[str, Evaluation]]:
        """Embed the pictures under every condition; then a record of each, as soon as it is there.

        With each record comes the name of a folder for it, "" if there is only one.
        """
        several = len(self.conditions) > 1
        for condition, record in evaluate_conditions(self.subject, self.embed(progress)):
            yield condition.folder if several else "", record

    @property
    def warnings(self) -> Sequence[str]:
        """What must be known of the figures; complete after :meth:`measure`."""
        return self.subject.warnings

    def embed(self, progress: JobProgress) -> EmbeddedTable:
        """Vectors of all pictures under every condition, which :meth:`measure` compares."""
        options, conditions = self.options, list(self.conditions)
        files = Files(self.table, make_views(self.embedder.info), options.decoding)  # type: ignore[arg-type]
        source: Source = files
        if options.cache is not None:
            for filled in fill_cache(options.cache, files, options.workers):
                progress("read pictures", filled.done, filled.total)
            source = open_cache(options.cache, files)
        how = EmbedSettings(
            source=source,
            workers=options.workers,
            batch=options.batch,
            skip_unreadable=options.skip_unreadable,
            progress=lambda done, total: progress("embed", done, total),
        )
        shown = add_hard_samples(conditions) if options.hard_samples else conditions
        embedded = embed(self.table, self.embedder, shown, how)
        pictures = len(self.table.ground) + len(self.table.aerial)
        progress("embed", pictures, pictures)
        return embedded


def open_assessment(
    options: AssessmentOptions, model: str | Path | Model, note: Note, warn: Note
) -> Assessment:
    """Open a model (a run folder, a model folder, a packaged name or a Model) and the data."""
    require(options.batch >= 1, f"--batch must be at least 1, got {options.batch}.")
    require(options.decoding in ("exact", "fast"), "--decoding takes exact or fast.")
    embedder, subject = _open_subject(options, model, warn)
    headings = options.headings or subject.info.headings_seen
    conditions = parse_conditions(
        options.fov or "360", headings, options.seeds, list(options.corrupt)
    )
    table = read_table(options, note, check_files=not options.skip_unreadable)
    trained_on = str(subject.model.get("training_data", ""))
    return Assessment(
        options=options,
        embedder=embedder,
        subject=subject,
        table=catalogue.frame_for_model(table, options.data, subject.info.ground, trained_on),
        conditions=conditions,
    )


def read_table(options: AssessmentOptions, note: Note, *, check_files: bool) -> PairTable:
    """The table of the split."""
    data = catalogue.open_data(options.data, check_files=check_files)
    for text in data.notes:
        note(f"{options.data}: {text}.")
    return data.table(options.split)


def make_rules(options: AssessmentOptions) -> Rules:
    """How the data set counts, with the radius that was asked for."""
    require(
        options.radius_m >= 0.0, f"--radius must be at least 0 metres, got {options.radius_m:g}."
    )
    return replace(catalogue.rules(options.data), radius_m=options.radius_m)


def read_representation(name: str) -> Representation:
    """A representation by its name, or InvalidValue."""
    names: dict[str, Representation] = {"narrow": "narrow", "padded": "padded"}
    if name in names:
        return names[name]
    raise InvalidValue(f"--representation takes narrow or padded, got {name!r}.")


def is_run(model: str | Path) -> bool:
    """Whether a folder is one of ``crossview train`` or ``crossview import``."""
    return (Path(model) / CONFIG_NAME).is_file()


def _open_subject(
    options: AssessmentOptions, model: str | Path | Model, warn: Note
) -> tuple[Embedder, Subject]:
    """The network and its facts; a representation that it was not trained on is refused."""
    if isinstance(model, Model) or not is_run(model):
        embedder, facts = _open_exported(options, model)
    else:
        embedder, facts = _open_trained(options, Path(model), warn)
    info, off_protocol = embedder.info, []
    representation = read_representation(options.representation or info.ground.representation)
    if representation != info.ground.representation:
        difference = (
            f"trained on {info.ground.representation} pictures, shown {representation} ones"
        )
        if not options.off_protocol:
            raise InvalidValue(
                f"{model} was {difference}: its figures would say little.\n"
                "Remove --representation, or add --off-protocol, which marks them."
            )
        off_protocol.append(difference)
        info = replace(info, ground=replace(info.ground, representation=representation))
        embedder = copy(embedder)  # the caller's stays as it was
        embedder.info = info  # type: ignore[misc]
    return embedder, Subject(
        info=info,
        label=options.label or facts["label"],
        method=facts["method"],
        data=options.data,
        split=options.split,
        rules=make_rules(options),
        model=facts["model"],
        decoding=options.decoding,
        selection=facts["selection"],
        off_protocol=tuple(off_protocol),
        command=options.command,
    )


def _open_exported(
    options: AssessmentOptions, model: str | Path | Model
) -> tuple[Embedder, dict[str, Any]]:
    embedder = model if isinstance(model, Model) else open_model(model, threads=options.threads)
    return embedder, {
        "label": embedder.info.name,
        "method": embedder.info.name,
        "model": _list_facts(embedder) | {"training_data": embedder.info.training_data},
        "selection": "as its maker chose",
    }


def _open_trained(
    options: AssessmentOptions, folder: Path, warn: Note
) -> tuple[Embedder, dict[str, Any]]:
    from crossview.training.device import open_device
    from crossview.training.export import RunEmbedder

    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    run = catalogue.open_run(folder, None if options.method is None else str(options.method))
    for remark in run.notes:
        warn(f"{remark}.")
    device = open_device(options.device)
    embedder = RunEmbedder(run.folder, run.page, run.config, run.views, device)
    config = run.record
    facts = {"training_data": config["data"], "run": str(folder), "config": config["config"]}
    return embedder, {
        "label": run.folder.path.resolve().name,
        "method": Path(config["method"]).stem,
        "model": _list_facts(embedder) | facts,
        "selection": "last step of the training; no split chose it",
    }


def _list_facts(embedder: Embedder) -> dict[str, Any]:
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
