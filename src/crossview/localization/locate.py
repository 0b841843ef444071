"""Where a picture was taken: photo in, ranked places of an indexed region out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crossview.arrays import U8
from crossview.errors import BadImage, BadIndex, CrossviewError, InvalidValue
from crossview.index.selection import Held, Windows
from crossview.index.store import THUMBNAIL_PX
from crossview.localization.answer import Answer, number_windows
from crossview.localization.claims import add_claim
from crossview.localization.hints import Hints, match_hints
from crossview.localization.posterior import (
    NotComplete,
    add_confidence,
    compute_log_prior,
    compute_masses,
    find_temperature,
    measure_shift,
)
from crossview.localization.queries import (
    Picture,
    Query,
    find_common_bearing,
    make_queries,
    read_batches,
)
from crossview.localization.refinement import OFFSET_REGRESSED, place_by_offsets, refine_places
from crossview.localization.reranking import rerank
from crossview.localization.search import (
    SearchResult,
    count_searched_places,
    rank_places,
    score_surroundings,
    search,
    search_below,
)
from crossview.localization.skyline import SKYLINE_COMPARED, check_skyline
from crossview.model import (
    Embedder,
    Regression,
    find_regression,
    open_index_model,
    open_model,
    settle,
)
from crossview.runtime import YARDSTICK, Arithmetic, count_sample
from crossview.views.aerial import make_aerial_view
from crossview.views.colour import measure_ground_light
from crossview.views.decode import Photo
from crossview.views.spec import ViewSpec

LOG = logging.getLogger("crossview.localization")
_OF_ONE_PHOTO = (BadImage, InvalidValue)  # the other photos are located all the same


class LocatedPhoto(NamedTuple):
    """A decoded photo, what it was looked for with, and what came of it."""

    photo: Photo
    hints: Hints
    answer: Answer


def locate(
    index: Windows, photo: Picture, *, hints: Hints | None = None, embedder: Embedder | None = None
) -> Answer:
    """Where ``photo`` may have been taken.

    It is a path, the bytes of a file, a Pillow image, RGB uint8 [H, W, 3], or a decoded Photo. The
    model is the one that made the index, unless ``embedder`` is given. Raises :class:`BadImage`,
    :class:`InvalidValue` for hints that cannot be used, and :class:`ModelMismatch`.
    """
    model = embedder if embedder is not None else get_index_model(index)
    return locate_many(index, model, [photo], hints or Hints())[0]


def locate_many(
    index: Windows,
    embedder: Embedder,
    photos: Sequence[Picture],
    hints: Hints | Sequence[Hints] = Hints(),  # noqa: B008 - frozen
) -> list[Answer]:
    """:func:`locate` for many pictures at once, which share each pass over the index.

    ``hints`` are for all pictures or one for each. The first picture that cannot be read raises.
    """
    require_ready(index, embedder)
    all_hints = match_hints(hints, len(photos))
    bearing = find_common_bearing(index, embedder.info.azimuth_bins)
    return answer_queries(index, embedder, list(make_queries(photos, all_hints, embedder, bearing)))


def locate_files(
    index: Windows,
    embedder: Embedder,
    paths: Sequence[str | Path],
    hints: Callable[[Photo], Hints | None],
    failed: Callable[[CrossviewError], None],
    *,
    apart: bool = False,
) -> Iterator[tuple[list[LocatedPhoto], int]]:
    """Locate files in batches of a few: what came of each batch, and how many paths it took.

    ``hints`` gives the hints of a photo; None leaves it out. ``failed`` is called with each
    photo that cannot be read, or that its hints do not fit; the others go on. ``apart``: as in
    :func:`read_photos`.
    """
    for photos, taken in read_batches(paths, failed, apart=apart):
        wanted = [(photo, its_hints) for photo in photos if (its_hints := hints(photo)) is not None]
        begun = time.perf_counter()
        located = _locate_together(index, embedder, wanted, failed)
        seconds = time.perf_counter() - begun
        LOG.debug("%d of %d photos located, %.2f s once decoded.", len(located), taken, seconds)
        yield located, taken


def _locate_together(
    index: Windows,
    embedder: Embedder,
    wanted: Sequence[tuple[Photo, Hints]],
    failed: Callable[[CrossviewError], None],
) -> list[LocatedPhoto]:
    """Locate some photos together; if one of them makes trouble, each on its own."""
    photos, hints = [photo for photo, _ in wanted], [its_hints for _, its_hints in wanted]
    try:
        answers = locate_many(index, embedder, photos, hints) if photos else []
    except _OF_ONE_PHOTO as problem:
        if len(wanted) == 1:
            failed(problem)
            return []
        return [
            located
            for pair in wanted
            for located in _locate_together(index, embedder, [pair], failed)
        ]
    return [LocatedPhoto(*located) for located in zip(photos, hints, answers, strict=True)]


def require_ready(index: Windows, embedder: Embedder) -> None:
    """Raise :class:`ModelMismatch` or :class:`BadIndex` unless the index can be searched."""
    index.require_model(embedder.fingerprint)
    if index.count == 0:
        raise BadIndex(f"{index.name} holds no windows. Add imagery with crossview index --add.")


def answer_queries(index: Windows, embedder: Embedder, queries: Sequence[Query]) -> list[Answer]:
    """Answers to queries that are embedded already; they share each pass over the index."""
    results = search(index, queries)
    return [_make_answer(index, embedder, *pair) for pair in zip(queries, results, strict=True)]


def open_embedder(
    index: Windows,
    model: str | Path | Embedder | None,
    *,
    threads: int = 0,
    arithmetic: Arithmetic = YARDSTICK,
) -> Embedder:
    """The model that made an index; if another is named or given, it must be the same.

    ``arithmetic``: of one that is not given open. Raises :class:`ModelMismatch` for another model,
    and where the arithmetic changes too much (:func:`require_settled`).
    """
    if model is None:
        return get_index_model(index, threads=threads, arithmetic=arithmetic)
    embedder = model
    if isinstance(embedder, str | Path):
        embedder = open_model(embedder, threads=threads, arithmetic=arithmetic)
    index.require_model(embedder.fingerprint)
    return require_settled(index, embedder)


def get_index_model(
    index: Windows, *, threads: int = 0, arithmetic: Arithmetic = YARDSTICK
) -> Embedder:
    """The model that made an index, by the name or path the index remembers; kept for reuse."""
    made_by = index.manifest.model.name_or_path
    return require_settled(index, _open_cached(made_by, index.path, threads, arithmetic))


@lru_cache(maxsize=2)
def _open_cached(made_by: str, index: Path, threads: int, arithmetic: Arithmetic) -> Embedder:
    return open_index_model(made_by, index, threads=threads, arithmetic=arithmetic)


def require_settled(index: Windows, embedder: Embedder) -> Embedder:
    """The embedder, its arithmetic and that of the index found close enough to float32.

    It is measured on windows of the index unless it was before. Raises :class:`ModelMismatch`.
    """
    if index.count:
        settle(embedder, index.name, lambda: draw_views(index, embedder.info.aerial))
    for drift in index.manifest.drifts:
        drift.require_small(index.name)
    return embedder


def draw_views(index: Windows, spec: ViewSpec) -> U8:
    """Views [n, h, w, 3] of windows evenly spread over an index, drawn from its thumbnails.

    They are coarser than those that were embedded: two arithmetics are compared on them, not two
    pictures.
    """
    import simplejpeg

    fitted = replace(spec, footprint_m=index.manifest.footprint_m)
    metres_per_px = index.manifest.footprint_m / THUMBNAIL_PX
    count = min(index.count, count_sample(spec))
    rows = np.linspace(0, index.count - 1, count).round().astype(int)
    thumbnails = (simplejpeg.decode_jpeg(index.thumbnail(int(row))) for row in rows)
    return np.stack([make_aerial_view(pixels, metres_per_px, fitted) for pixels in thumbnails])


def _make_answer(
    windows: Windows, embedder: Embedder, query: Query, result: SearchResult
) -> Answer:
    """The answer of what is held; more is fetched where its areas reach farther down."""
    try:
        answer = _answer_held(result.held, embedder, query, result)
    except NotComplete as problem:
        more = search_below(windows, query, problem.floor)
        answer = _answer_held(more.held, embedder, query, more)
        return number_windows(more.held, answer)
    return number_windows(result.held, answer)


def _answer_held(index: Held, embedder: Embedder, query: Query, result: SearchResult) -> Answer:
    reranked = rerank(index, embedder, query, result)
    result = check_skyline(index, embedder, query, reranked)
    compared = () if result is reranked else (SKYLINE_COMPARED,)
    regress = find_regression(embedder)
    regressed = () if regress is None else (OFFSET_REGRESSED,)
    reading = query.readings[result.reading]
    answer = Answer(
        photo=query.photo,
        sha256=query.sha256,
        kind=reading.kind,
        fov_deg=reading.fov_deg,
        fov_source=reading.source,
        heading_source=None if query.heading is None else query.heading.source,
        heading_wanted=query.heading_wanted,
        assumptions=(
            *query.describe_reading(result.reading),
            *query.assumptions,
            *compared,
            *regressed,
        ),
        places=(),
        scores=result.scores,
        searched_places=count_searched_places(index, result.scores),
        warnings=(*index.manifest.warnings, *query.warnings),
        ground_light=_measure_light(embedder, query, result.reading),
    )
    answer = _add_places(index, query, result, answer, regress)
    confident = add_confidence(index, answer, query.hints)
    if (claimed := query.hints.claim) is None:
        return confident
    return add_claim(index, confident, claimed, result.heading_deg)


def _measure_light(embedder: Embedder, query: Query, reading: int) -> float | None:
    if not query.strips:
        return None
    return measure_ground_light(query.strips[reading], embedder.info.ground.mean_colour)


def _add_places(
    index: Held, query: Query, result: SearchResult, answer: Answer, regress: Regression | None
) -> Answer:
    """The answer with its places, as its scores, a prior and the model's offsets place them."""
    prior, wanted, weights = query.hints.prior, query.hints.places, None
    if prior is not None:
        temperature, log_prior = find_temperature(index, answer), compute_log_prior(index, prior)
        weights = temperature * log_prior
    ranked = rank_places(index, result.scores, result.heading_deg, max(wanted, 2), weights)
    surroundings = score_surroundings(index, query, result, ranked[:wanted])
    places = refine_places(index, query, ranked[:wanted], surroundings, weights)
    if regress is not None:
        places = place_by_offsets(index, query.vectors[result.reading], regress, places)
    answer = replace(
        answer,
        places=places,
        second=ranked[1].score if len(ranked) > 1 else None,
    )
    if prior is None or not ranked:
        return answer
    posterior = compute_masses(answer.scores, temperature, log_prior, index.weights)
    shift = measure_shift(index, prior, posterior, answer.places[0].latlon)
    return replace(answer, prior=shift)
