"""crossview: where on the map was this picture taken, from imagery seen from above.

For programs and notebooks. ``import crossview`` is light: whatever needs more is imported when it
is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from crossview._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Unpack

    from crossview.assessment import AssessmentValues
    from crossview.errors import CrossviewError
    from crossview.evaluation.evaluation_record import Evaluation
    from crossview.index.index_options import BuildValues
    from crossview.index.store import Index
    from crossview.localization.hints import HintValues
    from crossview.localization.queries import Picture
    from crossview.localization.track import Track
    from crossview.model import Embedder, Model
    from crossview.outputs.notebook import NotebookAnswer

__all__ = [
    "Index", "Model", "__version__", "build_index", "evaluate", "locate", "locate_together",
    "locate_track",
]  # fmt: skip


@overload
def locate(
    index: Index | str | Path,
    photo: Picture,
    *,
    model: str | Path | Embedder | None = None,
    **hints: Unpack[HintValues],
) -> NotebookAnswer: ...


@overload
def locate(
    index: Index | str | Path,
    photo: list[Picture] | tuple[Picture, ...],
    *,
    model: str | Path | Embedder | None = None,
    **hints: Unpack[HintValues],
) -> list[NotebookAnswer]: ...


def locate(
    index: Index | str | Path,
    photo: Picture | list[Picture] | tuple[Picture, ...],
    *,
    model: str | Path | Embedder | None = None,
    **hints: Unpack[HintValues],
) -> NotebookAnswer | list[NotebookAnswer]:
    """Where a photo was taken; for a list or tuple of photos a list of answers, in their order.

    A photo is a path, the bytes of a file, a Pillow image, RGB uint8 [H, W, 3] or a Photo. An
    index that is given by its path is opened for this call. ``model``: where the index's model is
    now, if it was moved. Hints are those of ``localization.hints.Hints``; ``near`` may be a pair
    (lat, lon). The first photo that cannot be read raises :class:`BadImage`.
    """
    from pathlib import Path

    from crossview.index.store import Index
    from crossview.localization.hints import Hints
    from crossview.localization.locate import locate_many, open_embedder
    from crossview.outputs.notebook import NotebookAnswer

    opened = Index.open(index) if isinstance(index, str | Path) else index
    photos = photo if isinstance(photo, list | tuple) else [photo]
    embedder = open_embedder(opened, model)
    answers = [
        NotebookAnswer.of(answer, opened)
        for answer in locate_many(opened, embedder, photos, Hints(**hints))
    ]
    return answers if isinstance(photo, list | tuple) else answers[0]


def locate_together(
    index: Index | str | Path,
    photos: Sequence[Picture],
    *,
    turns_deg: Sequence[float] | None = None,
    model: str | Path | Embedder | None = None,
    **hints: Unpack[HintValues],
) -> NotebookAnswer:
    """One answer for photos that were taken at one spot, as by somebody who turns around.

    ``turns_deg``: how far the middle of each photo lies clockwise from that of the first; None: by
    the directions in the files if all have one, else unknown. ``heading_deg`` is that of the first
    photo, and needs the turns. ``answer.together`` says what each photo contributed, and the rest
    is as in :func:`locate`.
    """
    from pathlib import Path

    from crossview.index.store import Index
    from crossview.localization import belief
    from crossview.localization.hints import Hints
    from crossview.localization.locate import open_embedder
    from crossview.outputs.notebook import NotebookAnswer

    opened = Index.open(index) if isinstance(index, str | Path) else index
    embedder = open_embedder(opened, model)
    answer = belief.locate_together(opened, embedder, photos, Hints(**hints), turns_deg)
    return NotebookAnswer.of(answer, opened)


def locate_track(
    index: Index | str | Path,
    pictures: Sequence[Picture] | str | Path,
    *,
    model: str | Path | Embedder | None = None,
    failed: Callable[[CrossviewError], None] | None = None,
    **options: Any,
) -> Track:
    """The way along which photos or a video (its path) were taken, as ``crossview track`` does.

    Photos are taken in the order of the times in their files, or of ``seconds``. Other keywords are
    those of ``localization.track.TrackOptions``. ``failed`` gets each photo that cannot be used;
    None: the first one raises.
    """
    from pathlib import Path

    from crossview.index.store import Index
    from crossview.localization.locate import open_embedder
    from crossview.localization.track import TrackOptions
    from crossview.localization.track import locate_track as follow

    opened = Index.open(index) if isinstance(index, str | Path) else index
    return follow(
        opened, open_embedder(opened, model), pictures, TrackOptions(**options), failed=failed
    )


def build_index(
    imagery: str | Path | Sequence[str | Path],
    out: str | Path,
    model: str | Path | Model | None = None,
    *,
    add: bool = False,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[BuildValues],
) -> Index:
    """Index imagery, so that photos can be located in it; as ``crossview index`` does.

    ``imagery`` is one source or several. ``model`` is a packaged name, a folder or an open Model;
    None means the model of the index with ``add``, else the packaged one for this imagery. ``add``
    adds to the index ``out``. ``progress`` gets the windows that are done and those in all. Options
    are those of ``IndexOptions`` and ``SourceOptions``; ``near`` may be a pair (lat, lon). If the
    call is stopped, the same call goes on where it was.
    """
    from dataclasses import fields
    from pathlib import Path

    from crossview.imagery.provenance import SourceOptions
    from crossview.index import build
    from crossview.index.index_options import IndexOptions
    from crossview.index.store import Index
    from crossview.localization.hints import to_latlon
    from crossview.model import open_index_model

    values: dict[str, Any] = dict(options)
    if values.get("near") is not None:
        values["near"] = to_latlon(values["near"])
    names = {each.name for each in fields(SourceOptions)}
    source_options = SourceOptions(**{name: values.pop(name) for name in names & values.keys()})
    if model is None and add:
        made_by = Index.open(out).manifest.model.name_or_path
        arithmetic = IndexOptions(**values).arithmetic
        model = open_index_model(made_by, Path(out), threads=threads, arithmetic=arithmetic)
    sources = [imagery] if isinstance(imagery, str | Path) else list(imagery)
    make = build.add_to_index if add else build.build_index
    with build.open_job(
        sources, model, IndexOptions(**values), source_options, threads=threads
    ) as job:
        return make(job.imagery, job.embedder, out, options=job.options, progress=progress)


def evaluate(
    model: str | Path | Model,
    data: str,
    *,
    out: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Unpack[AssessmentValues],
) -> list[Evaluation]:
    """Measure a model on a data set under the field's protocols, as ``crossview evaluate`` does.

    ``model`` is a run folder, a model folder, a packaged name or an open Model; ``data`` is
    ``NAME:ROOT`` of a benchmark, ``pairs:FILE`` or ``town``. Returns a record for each condition
    (field of view, headings, seed, damage). ``out`` is a folder to write the records to.
    ``progress`` gets a job ("read pictures", "embed"), the pictures that are done and those in
    all. Options are those of ``assessment.AssessmentOptions``; ``fov`` may be a number or several.
    Pictures are read in this process unless ``workers`` says otherwise. What makes figures doubtful
    is warned of; what was assumed of the data goes to the log ``crossview``.
    """
    import logging
    import warnings
    from pathlib import Path

    from crossview import catalogue
    from crossview.assessment import open_assessment, read_options
    from crossview.evaluation.run_comparison import means_over_fields, write_means

    read = read_options(catalogue.data_name(data), options)
    assessment = open_assessment(read, model, logging.getLogger(__name__).info, warnings.warn)
    records = []
    for folder, record in assessment.measure(progress or (lambda _job, _done, _total: None)):
        if out is not None:
            record.write(Path(out) / folder)
        records.append(record)
    if out is not None and (means := means_over_fields(records)):
        write_means(Path(out), means)
    for text in assessment.warnings:
        warnings.warn(text, stacklevel=2)
    return records


def __getattr__(name: str) -> Any:
    """The classes ``Index`` and ``Model``, imported when they are first used."""
    if name == "Index":
        from crossview.index.store import Index

        return Index
    if name == "Model":
        from crossview.model import Model

        return Model
    raise AttributeError(f"module 'crossview' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
