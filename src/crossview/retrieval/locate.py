"""Where a picture was taken: photo in, ranked places of an indexed region out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from crossview.errors import BadIndex, BadModel, UnknownName
from crossview.retrieval.confidence import with_confidence
from crossview.retrieval.embedder import Embedder
from crossview.retrieval.hints import Hints, hints_for
from crossview.retrieval.merge import places
from crossview.retrieval.models import open_model
from crossview.retrieval.places import Answer
from crossview.retrieval.queries import Picture, Query, queries
from crossview.retrieval.search import Found, search

if TYPE_CHECKING:
    from crossview.retrieval.index import Index

__all__ = [
    "Hints",
    "Picture",
    "answered",
    "embedder_for",
    "locate",
    "locate_many",
    "model_of",
    "require_ready",
]


def locate(
    index: Index, photo: Picture, *, hints: Hints | None = None, embedder: Embedder | None = None
) -> Answer:
    """Where ``photo`` (a path, RGB uint8 [H, W, 3], or a decoded Photo) may have been taken.

    The model is the one that made the index, unless ``embedder`` is given. Raises
    :class:`BadImage`, :class:`InvalidValue` for hints that cannot be used, and
    :class:`ModelMismatch`.
    """
    model = embedder if embedder is not None else model_of(index)
    return locate_many(index, model, [photo], hints or Hints())[0]


def locate_many(
    index: Index,
    embedder: Embedder,
    photos: Sequence[Picture],
    hints: Hints | Sequence[Hints] = Hints(),  # noqa: B008 - frozen
) -> list[Answer]:
    """:func:`locate` for many pictures at once, which share each pass over the index.

    ``hints`` are for all pictures or one for each. The first picture that cannot be read raises.
    """
    require_ready(index, embedder)
    return answered(index, list(queries(photos, hints_for(hints, len(photos)), embedder)))


def require_ready(index: Index, embedder: Embedder) -> None:
    """Raise :class:`ModelMismatch` or :class:`BadIndex` unless the index can be asked."""
    index.require_model(embedder.fingerprint)
    if index.count == 0:
        raise BadIndex(f"{index.path} holds no windows. Add imagery with crossview index --add.")


def answered(index: Index, asked: Sequence[Query]) -> list[Answer]:
    """Answers to queries that are embedded already; they share each pass over the index."""
    found = search(index, asked)
    return [_answer(index, *pair) for pair in zip(asked, found, strict=True)]


def embedder_for(index: Index, model: str | None, *, threads: int = 0) -> Embedder:
    """The model that made an index; if another is named, it must be the same.

    Raises :class:`ModelMismatch` if it is not.
    """
    if model is None:
        return model_of(index, threads=threads)
    embedder = open_model(model, threads=threads)
    index.require_model(embedder.fingerprint)
    return embedder


def model_of(index: Index, *, threads: int = 0) -> Embedder:
    """The model that made an index, by the name or path the index remembers; kept for reuse."""
    made_by = index.manifest.model
    return _opened(made_by.name_or_path, made_by.fingerprint, str(index.path), threads)


@lru_cache(maxsize=2)
def _opened(name: str, _fingerprint: str, index: str, threads: int) -> Embedder:
    try:
        return open_model(name, threads=threads)
    except (BadModel, UnknownName) as problem:
        raise BadModel(
            f"{index} was made by the model {name}, which is not there or damaged.\n"
            "Give the same model with --model."
        ) from problem


def _answer(index: Index, query: Query, found: Found) -> Answer:
    reading = query.readings[found.reading]
    assumptions = query.assumptions
    if reading.source == "assumed":
        tried = ", ".join(f"{guess.fov_deg:g}" for guess in query.readings)
        best = f"field of view assumed: {reading.fov_deg:g} degrees (best of {tried})"
        assumptions = (best, *assumptions)
    answer = Answer(
        photo=query.photo,
        sha256=query.sha256,
        kind=reading.kind,
        fov_deg=reading.fov_deg,
        fov_source=reading.source,
        assumptions=assumptions,
        places=places(index, found.scores, found.heading_deg, query.hints.places),
        scores=found.scores,
        warnings=(*index.manifest.warnings, *query.warnings),
    )
    return with_confidence(index, answer, query.hints)
