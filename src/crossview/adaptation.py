"""A model of one's own region, without a street photo of it: ``crossview adapt``.

The region's imagery is divided by a straight line. Worlds are drawn of both parts; a model is
renewed and fine-tuned on the one, and measured before and after on the other, on known photos too,
if there are any. The better of four is kept: the model as it was given, with statistics renewed
from unlabelled pictures, fine-tuned, and both. What is not surely better is not kept.

Worlds are not the real place: who trains on a region's worlds learns the renderer, too. So known
photos, where there are enough of them, decide before worlds do.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossview import catalogue
from crossview._version import __version__
from crossview.arrays import F32, F64, I64, U8, Bool
from crossview.assessment import JobProgress, Note
from crossview.calibration.known_photos import spot_number
from crossview.errors import (
    BadIndex,
    BadModel,
    CrossviewError,
    EmptyRegion,
    InvalidValue,
    UsageError,
    require,
)
from crossview.evaluation.conditions import Condition
from crossview.evaluation.embed import EmbedSettings, embed, make_views
from crossview.evaluation.run_comparison import Comparison, compare_queries, correct_together
from crossview.files import atomic_write, make_folder, remove_whole, sweep, write_together
from crossview.geo.footprints import measure_covered_km2
from crossview.geo.points import EARTH_RADIUS_M, LatLon, measure_distances_m
from crossview.imagery.orthophotos import TILE_M, plan_squares, prepare_region
from crossview.imagery.provenance import SourceOptions, compute_signature
from crossview.imagery.sources import Imagery, open_sources
from crossview.imagery.windows import Tiling, cut_windows
from crossview.index.build import build_index, open_job
from crossview.index.index_options import IndexOptions, compute_finest_useful_m
from crossview.index.similarity import score_queries
from crossview.index.store import MANIFEST_NAME, Index
from crossview.lists import read_table
from crossview.localization.accuracy import RIGHT_WITHIN_M, Truths
from crossview.localization.hints import Hints
from crossview.localization.locate import locate_files
from crossview.localization.queries import prepare_query
from crossview.locks import lock
from crossview.model import (
    INFO_NAME,
    MODEL_FILES,
    Embedder,
    Model,
    ModelInfo,
    encode_info,
    open_model,
    read_info,
)
from crossview.pairs.reading import Files
from crossview.pairs.table import PairTable, join_tables
from crossview.schema import parse_object, read_bytes
from crossview.stats import cluster_interval
from crossview.views.aerial import make_aerial_view
from crossview.views.crops import compute_bin_coverage
from crossview.views.decode import load_photo
from crossview.worlds.land_cover import check_picture
from crossview.worlds.ortho_pairs import INSET_M, PAIR_BYTES, OrthoPlan, require_pairs_room
from crossview.worlds.town import CELL_M
from crossview.worlds.town_pairs import CROP_PX, PAIRS_NAME, TownPlan, count_cores, render_pairs

if TYPE_CHECKING:
    from torch import nn

    from crossview.pairs.page_ref import PageRef

WORK_SUFFIX = ".adapting"
RECORD_NAME = "adaptation.json"
REQUEST_NAME, PLAN_NAME = "request.json", "plan.json"
SIDE_M = CROP_PX * CELL_M  # of what a pair shows from above
KEPT_SHARE = 0.3  # of the region's height
LEAST_QUERIES, MOST_QUERIES = 24, 400  # pairs of the part kept apart
LEAST_KNOWN = 30  # known photos that decide instead of worlds
GIVEN, RENEWED, TUNED, BOTH = "as given", "renewed", "fine-tuned", "fine-tuned and renewed"
CANDIDATES = (GIVEN, RENEWED, TUNED, BOTH)
TOWNS = TownPlan(towns_per_style=2, pairs_per_town=100, validation_pairs_per_style=0)
PAIRS_PER_HA = (4.0, 24.0)
MOST_STEPS, LEAST_STEPS = 1500, 12
RATE, WARMUP_STEPS, DECAY = 3e-4, 30, 0.98  # of fine-tuning
RENEWED_WINDOWS, RENEWED_PHOTOS = 512, 256  # at most
_BATCH = 32  # pictures embedded at a time
_SPARE_BYTES = 200_000_000  # of candidates, states and what else is written
_TOWN_S, _PAIR_S, _TILE_S, _EXPORT_S = 5.0, 0.12, 4.0, 25.0  # on one core, where nothing is timed


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """What is to be adapted, to what, and within what time."""

    sources: tuple[Path, ...]  # imagery, or one index
    out: Path
    model: str
    source_options: SourceOptions = field(default_factory=SourceOptions)
    heights: Path | None = None  # a raster: above the ground, or of the surface
    buildings: Path | None = None  # outlines, with heights or storeys
    pairs: Path | None = None  # real pairs, mixed in
    photos: tuple[Path, ...] = ()  # unlabelled
    known: Path | None = None  # places.csv of photos of known place
    minutes: float = 40.0
    seed: int = 1
    workers: int = 0  # that render; 0: one a core
    threads: int = 0
    kept_share: float = KEPT_SHARE  # of the region's height that is kept apart, in the south

    def __post_init__(self) -> None:
        require(
            0.1 <= self.kept_share <= 0.6,
            f"the share kept apart must lie in [0.1, 0.6], got {self.kept_share:g}.",
        )
        require(
            5.0 <= self.minutes <= 10_000.0,
            f"minutes must lie in [5, 10000], got {self.minutes:g}.",
        )


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the imagery shows, and how it is divided: the part south of a line is kept apart."""

    line_lat: float
    area_km2: float
    trained_km2: float
    kept_km2: float
    windows: int  # of the part that is trained on


def survey_region(imagery: Imagery, kept_share: float = KEPT_SHARE) -> Survey:
    """Read the imagery once and divide it as its worlds are. TooCoarse or EmptyRegion if refused.

    What a window shows of the line belongs to neither part.
    """
    check_picture(np.zeros((1, 1, 3), np.uint8), imagery.info.metres_per_px)
    line_lat = plan_squares(imagery, kept_share=kept_share).line_lat
    tiling = Tiling(footprint_m=SIDE_M, stride_m=SIDE_M / 4.0)
    latlon = np.array([(window.lat, window.lon) for window in cut_windows(imagery, tiling)])
    north_m = np.radians(latlon[:, 0] - line_lat) * EARTH_RADIUS_M
    parts = np.ones(len(latlon), dtype=bool), north_m >= SIDE_M / 2.0, north_m <= -SIDE_M / 2.0
    km2 = [measure_covered_km2(latlon[rows, 0], latlon[rows, 1], SIDE_M) for rows in parts]
    return Survey(
        line_lat=line_lat,
        area_km2=km2[0],
        trained_km2=km2[1],
        kept_km2=km2[2],
        windows=int(parts[1].sum()),
    )


@dataclass(frozen=True, kw_only=True)
class AdaptationPlan:
    """How much is drawn and trained, and how long that takes here; written once, then kept."""

    pairs: int  # about
    town_pairs: int
    steps: int
    bytes: int
    seconds: dict[str, float]  # by job

    @property
    def total_s(self) -> float:
        """Of all jobs."""
        return sum(self.seconds.values())


@dataclass(frozen=True, kw_only=True)
class QueryHits:
    """What a model found [Q], query by query: was the first place right, was it within 25 m."""

    first: Bool
    near: Bool
    percentile: F64  # share of other references above the right one; 0 best, 0.5 chance


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A model on the same queries [Q] under several conditions, by their names."""

    hits: Mapping[str, QueryHits]
    spots: I64  # [Q] queries of one square of 100 m share a number
    references: int

    def compute_scores(self) -> F64:
        """[Q] mean over conditions of "first is right" and "first is within 25 m"."""
        each = [0.5 * (h.first.astype(float) + h.near) for h in self.hits.values()]
        return np.asarray(np.mean(each, axis=0), dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        hits = {
            name: {key: getattr(h, key).tolist() for key in ("first", "near", "percentile")}
            for name, h in self.hits.items()
        }
        return {"hits": hits, "spots": self.spots.tolist(), "references": self.references}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Measured:
        """The inverse of :meth:`to_json`."""
        hits = {
            name: QueryHits(
                first=np.array(h["first"], dtype=bool),
                near=np.array(h["near"], dtype=bool),
                percentile=np.array(h["percentile"], dtype=float),
            )
            for name, h in values["hits"].items()
        }
        return Measured(
            hits=hits,
            spots=np.array(values["spots"], dtype=np.int64),
            references=int(values["references"]),
        )

    def summarise(self) -> dict[str, dict[str, Any]]:
        """Shares with their 95 % intervals over spots, by condition; JSON."""
        return {
            name: {
                "R@1": _share(h.first, self.spots),
                "within 25 m": _share(h.near, self.spots),
                "mean rank percentile": round(100.0 * float(h.percentile.mean()), 2),
            }
            for name, h in self.hits.items()
        }


def _share(hits: Bool, spots: I64) -> dict[str, float]:
    low, high = cluster_interval(hits.astype(float), spots)
    return {"value": float(hits.mean()), "low": low, "high": high}


KNOWN_CONDITIONS = ("heading unknown", "heading known")  # of known photos
CONDITIONS = {  # by name: what is shown, and whether the turn is known
    f"{fov:g} degrees, heading {'known' if known else 'unknown'}": (
        Condition(fov_deg=fov, within_deg=0.0 if known else 180.0),
        known,
    )
    for fov in (360.0, 90.0)
    for known in (True, False)
}


def measure_pairs(
    embedder: Embedder, table: PairTable, progress: Callable[[int, int], None] | None = None
) -> Measured:
    """Every ground picture of ``table`` among all of its aerial ones, under all CONDITIONS.

    A known heading is exact: the picture is turned by it, and no other turn is tried.
    """
    info = embedder.info
    how = EmbedSettings(
        source=Files(table, make_views(info)),
        workers=0,
        batch=_BATCH,
        progress=progress or (lambda _done, _total: None),
    )
    embedded = embed(table, embedder, [shown for shown, _ in CONDITIONS.values()], how)
    right = np.zeros((len(table.ground), len(table.aerial)), dtype=bool)
    right[table.pairs[:, 0], table.pairs[:, 1]] = True
    away_m = np.stack([
        measure_distances_m(LatLon(*place), *table.aerial_latlon.T)
        for place in table.ground_latlon
    ])  # fmt: skip
    bins = info.azimuth_bins
    hits = {}
    for name, (shown, known) in CONDITIONS.items():
        queries = embedded.queries[shown]
        seen = np.stack([compute_bin_coverage(fov, bins) for fov in embedded.seen_deg[shown]])
        costs = [_price_other_turns(bins) if known and bins > 1 else None] * len(queries)
        scores, _ = score_queries(
            queries, embedded.references, bins, seen.astype(np.float32), costs
        )
        hits[name] = judge_scores(scores, right, away_m)
    spots = _number_spots([LatLon(*place) for place in table.ground_latlon])
    return Measured(hits=hits, spots=spots, references=len(table.aerial))


def _price_other_turns(bins: int) -> F32:
    """What turns [J] cost where the picture is turned as its known heading says: all but none."""
    return np.where(np.arange(bins) == 0, 0.0, np.inf).astype(np.float32)


def judge_scores(scores: Any, right: Bool, away_m: F64) -> QueryHits:
    """What queries [Q] found by their scores [Q, R], what is right, and distances in metres.

    A wrong reference that scores as high as the best right one counts against the query.
    """
    best = np.where(right, scores, -np.inf).max(axis=1)
    above = ((scores >= best[:, None]) & ~right).sum(axis=1)
    others = np.maximum((~right).sum(axis=1), 1)
    first = scores.argmax(axis=1)
    near = away_m[np.arange(len(scores)), first] <= RIGHT_WITHIN_M
    return QueryHits(first=above == 0, near=near, percentile=above / others)


def _number_spots(places: Sequence[LatLon]) -> I64:
    spots = np.array([spot_number(place) for place in places])
    return np.unique(spots, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which candidate is kept, and how the others compare with what was given."""

    kept: str
    comparisons: Mapping[str, Comparison]  # by candidate: it minus the given one
    judged_by: str


def choose_better(measured: Mapping[str, Measured], judged_by: str) -> Choice:
    """The candidate with the best mean score among those that are surely better than GIVEN.

    Scores are paired over the same queries; p over spots, corrected for all candidates (Holm).
    """
    given = measured[GIVEN]
    names = [name for name in measured if name != GIVEN]
    compared = [
        compare_queries(given.compute_scores(), measured[n].compute_scores(), given.spots)
        for n in names
    ]
    comparisons = dict(zip(names, correct_together(compared), strict=True))
    sure = [name for name, c in comparisons.items() if c.sure and c.difference > 0.0]
    best = max(sure, key=lambda name: comparisons[name].difference, default=GIVEN)
    return Choice(kept=best, comparisons=comparisons, judged_by=judged_by)


@dataclass(frozen=True, kw_only=True)
class KnownPhotoList:
    """Photos of known place, with what the list says of heading and field of view (NaN: not)."""

    paths: tuple[Path, ...]
    places: tuple[LatLon, ...]
    heading_deg: F64
    fov_deg: F64

    def take(self, rows: I64) -> KnownPhotoList:
        """Some of the photos."""
        return KnownPhotoList(
            paths=tuple(self.paths[n] for n in rows),
            places=tuple(self.places[n] for n in rows),
            heading_deg=self.heading_deg[rows],
            fov_deg=self.fov_deg[rows],
        )


def read_known_photos(path: Path) -> KnownPhotoList:
    """A ``places.csv``: file, lat, lon; heading_deg and fov_deg where known."""
    truths = Truths.read(path)
    rows = list(read_table(path, needed=("file", "lat", "lon"), what="list of places"))
    by_file = {row.text("file"): row for row in rows}
    first = list(dict.fromkeys(by_file))
    photos = truths.photos()
    require(len(first) == len(photos), f"{path} lists a photo twice; keep one line of each.")
    return KnownPhotoList(
        paths=tuple(photos),
        places=tuple(LatLon(*by_file[name].place()) for name in first),
        heading_deg=np.array([by_file[n].number("heading_deg", -360.0, 360.0) for n in first]),
        fov_deg=np.array([by_file[n].number("fov_deg", 1.0, 360.0) for n in first]),
    )


def measure_known(
    index: Index,
    embedder: Embedder,
    photos: KnownPhotoList,
    note: Note,
    progress: Callable[[int, int], None],
    names: Sequence[str] = (),
) -> Measured:
    """Known photos among all windows of the region, as ``crossview locate`` looks for them.

    ``names``: conditions of KNOWN_CONDITIONS; default: all that can be asked of every photo. "First
    is right" and "within 25 m" are the same here: there are no pairs, only places. InvalidValue
    where no photo was taken within 25 m of a window.
    """
    where = {str(path): n for n, path in enumerate(photos.paths)}
    hits: dict[str, dict[int, bool]] = {}
    shares: dict[str, dict[int, float]] = {}
    if not names:
        names = KNOWN_CONDITIONS[: 2 if np.isfinite(photos.heading_deg).all() else 1]

    def make_hints(photo: Any, *, known: bool) -> Hints:
        n = where[str(photo.path)]
        fov, heading = float(photos.fov_deg[n]), float(photos.heading_deg[n])
        return Hints(
            fov_deg=fov if 0.0 < fov < 360.0 else None,
            heading_deg=heading if known else None,
            ignore_direction=not known,
            places=1,
        )

    for count, name in enumerate(names):
        hits[name], shares[name] = {}, {}
        hint = partial(make_hints, known=name == KNOWN_CONDITIONS[1])
        done = count * len(photos.paths)
        failed: list[Any] = []
        for located, taken in locate_files(index, embedder, photos.paths, hint, failed.append):
            for photo, _, answer in located:
                n = where[str(photo.path)]
                away_m = measure_distances_m(photos.places[n], index.lat, index.lon)
                near = away_m <= RIGHT_WITHIN_M
                scores = np.asarray(answer.scores)
                hits[name][n] = bool(near[int(scores.argmax())])
                if near.any():
                    shares[name][n] = float((scores[~near] >= scores[near].max()).mean())
            done += taken
            progress(done, len(names) * len(photos.paths))
        if failed and not count:
            note(f"{len(failed)} known photos cannot be used, such as: {failed[0]}")
    rows = sorted(set.intersection(*(set(s) for s in shares.values())))
    require(
        bool(rows),
        "None of the known photos was taken within 25 m of a window of the region.\n"
        "Give photos of this region, or leave --known away.",
    )
    return Measured(
        hits={
            name: QueryHits(
                first=np.array([hits[name][n] for n in rows]),
                near=np.array([hits[name][n] for n in rows]),
                percentile=np.array([shares[name][n] for n in rows]),
            )
            for name in names
        },
        spots=_number_spots([photos.places[n] for n in rows]),
        references=index.count,
    )


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """What came of it; JSON in ``adaptation.json``."""

    kept: str
    judged_by: str
    figures: Mapping[str, Mapping[str, Any]]  # by what was asked, candidate, condition
    differences: Mapping[str, Mapping[str, float]]  # of the judge's score, by candidate
    region: Mapping[str, Any]
    plan: Mapping[str, Any]
    base: Mapping[str, str]
    request: str  # sha256 of all that it depends on
    created: str = ""
    crossview: str = __version__
    was_there: bool = False  # made by an earlier run of the same command

    @property
    def helped(self) -> bool:
        """Whether anything was surely better than the model as it was given."""
        return self.kept != GIVEN


@dataclass(frozen=True, kw_only=True)
class Base:
    """The model that is adapted, opened for use and for training."""

    model: Model
    method: str
    page: PageRef
    config: Any
    network: nn.Module


def open_base(name_or_folder: str, threads: int = 0) -> Base:
    """Open a model to adapt it; BadModel where it cannot be trained, such as another's ONNX."""
    from crossview.training.contract import require_trainable
    from crossview.training.export import read_origin, reopen

    model = open_model(name_or_folder, threads=threads)
    origin = read_origin(model.folder)
    if origin.method not in catalogue.METHODS:
        raise BadModel(
            f"{model.name} cannot be adapted: it was trained by {origin.method}, which is no "
            f"method of this package ({', '.join(catalogue.METHODS)})."
        )
    settings = catalogue.renew_settings(origin.method, origin.config)
    page, config = catalogue.configure(origin.method, settings)
    require_trainable(page.load(), origin.method)
    network = reopen(model.folder, page.load(), config, make_views(model.info))
    needed_m = model.info.aerial.required_footprint_m
    if needed_m > SIDE_M:
        raise BadModel(
            f"{model.name} cannot be adapted: it sees windows of {needed_m:g} m, and worlds are "
            f"drawn for windows of at most {SIDE_M:g} m."
        )
    return Base(model=model, method=origin.method, page=page, config=config, network=network)


@contextmanager
def open_region(options: AdaptOptions, info: ModelInfo | None = None) -> Iterator[Imagery]:
    """The imagery, or that which an index was made from.

    BadIndex where it is gone or has changed since.
    """
    finest = None if info is None else compute_finest_useful_m(info.aerial)
    sources, source_options = _find_sources(options)
    with open_sources(sources, replace(source_options, finest_useful_m=finest)) as imagery:
        yield imagery


def _find_sources(options: AdaptOptions) -> tuple[tuple[Path, ...], SourceOptions]:
    indexes = [path for path in options.sources if (path / MANIFEST_NAME).is_file()]
    if not indexes:
        return options.sources, options.source_options
    if len(options.sources) > 1:
        raise UsageError(f"{indexes[0]} is an index: give it alone, or give imagery only.")
    made_of = Index.open(indexes[0]).manifest.imagery
    sources = tuple(Path(source) for source in made_of.sources)
    if gone := [path for path in sources if not path.exists()]:
        raise BadIndex(
            f"{indexes[0]} was made from {gone[0]}, which is not there any more: worlds are drawn "
            "from the imagery itself.\nGive the imagery in place of the index."
        )
    return sources, made_of.options


def adapt(options: AdaptOptions, progress: JobProgress, note: Note) -> Adaptation:
    """Adapt a model to a region; a run that was killed goes on where it was.

    Writes the folder ``options.out``: a model, and ``adaptation.json``. Everything under way lies
    beside it in ``OUT.adapting``, which goes when it is done.
    """
    work = options.out.with_name(options.out.name + WORK_SUFFIX)
    base = open_base(options.model, options.threads)
    with open_region(options) as imagery:
        request = _describe_request(options, base, imagery)
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        _find_finished(options.out, digest)  # a wrong name is refused before hours of work
        with lock(options.out, "crossview adapt", make_parents=True):
            if done := _find_finished(options.out, digest):
                remove_whole(work)
                return done
            _begin(work, request)
            job = _Job(options, base, imagery, work, progress, note)
            with _discard_refused(work):
                survey, plan = job.make_plan()
            note(
                f"{survey.trained_km2:.2f} km2 to train on, {survey.kept_km2:.2f} km2 kept apart; "
                f"about {plan.pairs} pairs of worlds, {plan.steps} steps, "
                f"{plan.total_s / 60.0:.0f} minutes in all."
            )
            outcome = job.run(survey, plan, digest)
            remove_whole(work)
    return outcome


def estimate(options: AdaptOptions) -> tuple[Survey, AdaptationPlan]:
    """What :func:`adapt` would do, and how long it would take here; nothing is written."""
    base = open_base(options.model, options.threads)
    with open_region(options) as imagery:
        request = _describe_request(options, base, imagery)
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        _find_finished(options.out, digest)
        survey = survey_region(imagery, options.kept_share)
    plan = make_plan(options, base, survey)
    return survey, plan


def _describe_request(options: AdaptOptions, base: Base, imagery: Imagery) -> dict[str, Any]:
    """All that the outcome depends on, as JSON; the usual share kept apart goes without saying."""
    kept = {} if options.kept_share == KEPT_SHARE else {"kept_share": options.kept_share}
    return kept | {
        "base": base.model.fingerprint,
        "imagery": imagery.info.signature,
        "read": {k: v for k, v in imagery.info.options.to_json().items() if v is not None},
        "heights": _identify(options.heights),
        "buildings": _digest(options.buildings),
        "pairs": _digest(options.pairs),
        "known": _digest(options.known),
        "photos": [path.name for path in list_photos(options.photos)],
        "minutes": options.minutes,
        "seed": options.seed,
    }


def _identify(path: Path | None) -> str | None:
    return None if path is None else compute_signature([path])


def _digest(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as problem:
        raise InvalidValue(f"{path} cannot be read: {problem.strerror}.") from problem


def list_photos(paths: Sequence[Path]) -> list[Path]:
    """The photos of files and folders; an evenly spaced sample where there are very many."""
    from crossview.views.photo_folders import list_photos as find

    photos, _, problems = find(paths)
    if problems:
        raise problems[0]
    return photos[:: max(1, math.ceil(len(photos) / RENEWED_PHOTOS))]


def _find_finished(out: Path, digest: str) -> Adaptation | None:
    """What an earlier run of the same command wrote; UsageError for anything else that is there."""
    if not out.exists():
        return None
    try:
        values = parse_object(read_bytes(out / RECORD_NAME))
        outcome = Adaptation(**{**values, "was_there": True})
    except (OSError, ValueError, TypeError):
        if out.is_dir() and not any(out.iterdir()):
            return None
        raise UsageError(
            f"{out} exists and was not made by crossview adapt; it is left as it is.\n"
            "Choose another --out."
        ) from None
    if outcome.request != digest:
        raise UsageError(
            f"{out} holds a model that was adapted from other imagery, another model or with other "
            "settings.\nChoose another --out, or remove it."
        )
    return outcome


def _begin(work: Path, request: Mapping[str, Any]) -> None:
    """Create the folder of work under way, or make sure that it is of the same request."""
    make_folder(work)
    sweep(work)
    kept = work / REQUEST_NAME
    try:
        before = parse_object(read_bytes(kept))
    except FileNotFoundError:
        if any(work.iterdir()):
            raise UsageError(
                f"{work} is in the way: it is not what crossview adapt has begun.\n"
                "Choose another --out, or remove it."
            ) from None
        before = {}
    except (OSError, ValueError) as problem:
        raise UsageError(f"{kept} cannot be read ({problem}); remove {work}.") from problem
    now = json.loads(json.dumps(request))
    if before and before != now:
        differ = [name for name in now if before.get(name) != now[name]]
        raise UsageError(
            f"{work} was begun with another {', '.join(differ)}.\n"
            "Run that command again to go on, choose another --out, or remove that folder."
        )
    if not before:
        atomic_write(kept, json.dumps(now, indent=1) + "\n")


@contextmanager
def _discard_refused(work: Path) -> Iterator[None]:
    """Remove what was only just begun, if the region is refused inside of the block."""
    try:
        yield
    except CrossviewError:
        if not (work / PLAN_NAME).exists():
            remove_whole(work)
        raise


def make_plan(options: AdaptOptions, base: Base, survey: Survey) -> AdaptationPlan:
    """Pairs and steps that fit into the time, by the speed of this machine.

    Raises InvalidValue where the time is too short.
    """
    cores = options.workers or count_cores()
    budget_s = 60.0 * options.minutes
    step_s, embed_s = time_network(base)
    hectares = 100.0 * survey.area_km2
    least, most = (round(per_ha * hectares) for per_ha in PAIRS_PER_HA)
    pairs = int(np.clip(0.2 * budget_s * cores / _PAIR_S, least, most))
    towns = len(TOWNS.styles) * TOWNS.towns_per_style
    queries = min(MOST_QUERIES, round(pairs * survey.kept_km2 / survey.area_km2))
    measured = len(CANDIDATES) * (1 + len(CONDITIONS)) * queries
    tiles = math.ceil(survey.area_km2 * 1e6 / (TILE_M - 2.0 * INSET_M) ** 2)
    seconds = {
        "worlds": (pairs * _PAIR_S + tiles * _TILE_S) / cores,
        "towns": towns * (_TOWN_S + TOWNS.pairs_per_town * _PAIR_S) / cores,
        "statistics": 2.0 * (min(survey.windows, RENEWED_WINDOWS) + RENEWED_PHOTOS) * embed_s,
        "measuring": measured * embed_s + len(CANDIDATES) * _EXPORT_S,
    }
    if options.known is not None:
        windows = survey.area_km2 * 1e6 / (base.model.info.aerial.required_footprint_m / 4.0) ** 2
        seconds["known photos"] = len(CANDIDATES) * windows * embed_s
    left_s = 0.9 * budget_s - sum(seconds.values())
    steps = min(MOST_STEPS, int(left_s / step_s))
    if steps < LEAST_STEPS:
        needed = (sum(seconds.values()) + LEAST_STEPS * step_s) / 0.9 / 60.0
        raise InvalidValue(
            f"--minutes {options.minutes:g} is too short: {survey.area_km2:.2f} km2 take about "
            f"{math.ceil(needed)} minutes on this machine.\nGive more minutes, or less imagery."
        )
    seconds["training"] = steps * step_s
    town_pairs = towns * TOWNS.pairs_per_town
    return AdaptationPlan(
        pairs=pairs,
        town_pairs=town_pairs,
        steps=steps,
        bytes=(pairs + town_pairs) * PAIR_BYTES + _SPARE_BYTES,
        seconds=seconds,
    )


def time_network(base: Base) -> tuple[float, float]:
    """Seconds of a training step, and of one picture through the exported network.

    Of a step a part of its batch is timed.
    """
    from copy import deepcopy

    import torch

    from crossview.pairs.batch import Batch
    from crossview.training.contract import TrainingRecipe, example_batch
    from crossview.training.device import autocast, lay_out
    from crossview.training.train_state import make_state

    page, recipe = base.page.load(), TrainingRecipe.of(base.config)
    views, device = make_views(base.model.info), torch.device("cpu")
    batch = example_batch(views, device)
    count = min(recipe.batch, _BATCH)
    names = ("ground", "aerial", "rows", "places", "fov_deg", "heading_deg")
    whole: dict[str, Any] = {
        name: torch.cat([getattr(batch, name)] * math.ceil(count / len(batch)))[:count]
        for name in names
    }
    batch = Batch(**whole)
    # Laid out as training lays it out: otherwise a step takes half as long again.
    state = make_state(lay_out(deepcopy(base.network).train(), device), recipe)
    taken = []
    for _ in range(2):  # the first one sets things up
        begun = time.perf_counter()
        with autocast(device, recipe.amp):
            losses = page.objective(state.model, batch, base.config)
        torch.stack([loss.float() for loss in losses.values()]).sum().backward()  # type: ignore[no-untyped-call]
        state.optimiser.step()
        taken.append(time.perf_counter() - begun)
    spec = base.model.info.aerial
    blank = np.zeros((_BATCH, spec.height_px, spec.width_px, 3), np.uint8)
    base.model.aerial(blank)
    begun = time.perf_counter()
    base.model.aerial(blank)
    return min(taken) * recipe.batch / count, (time.perf_counter() - begun) / _BATCH


@dataclass(frozen=True)
class _Job:
    """One adaptation under way; what each stage leaves in ``work`` is not made again."""

    options: AdaptOptions
    base: Base
    imagery: Imagery
    work: Path
    progress: JobProgress
    note: Note

    def run(self, survey: Survey, plan: AdaptationPlan, digest: str) -> Adaptation:
        """All stages in order, and the folder of the model at the end."""
        trained, kept = self._make_tables(plan)
        asked: dict[str, dict[str, Measured]] = {"worlds": {}}
        photos = None if self.options.known is None else read_known_photos(self.options.known)
        for name in CANDIDATES:
            folder = self._make_candidate(name, survey, plan, trained)
            asked["worlds"][name] = self._measure(
                f"worlds-{name}", partial(measure_pairs, table=kept), folder
            )
            if photos is not None:
                asked.setdefault("known photos", {})[name] = self._measure_known(
                    name, folder, photos
                )
        judge = "worlds"
        if photos is not None and len(asked["known photos"][GIVEN].spots) >= LEAST_KNOWN:
            judge = "known photos"
        choice = choose_better(asked[judge], judge)
        outcome = self._describe(choice, asked, survey, plan, digest)
        self._write(outcome)
        return outcome

    def make_plan(self) -> tuple[Survey, AdaptationPlan]:
        """The division of the region and what is to be done, as they were first decided on."""
        path = self.work / PLAN_NAME
        with suppress(FileNotFoundError):
            values = parse_object(read_bytes(path))
            return Survey(**values["survey"]), AdaptationPlan(**values["plan"])
        survey = survey_region(self.imagery, self.options.kept_share)
        plan = make_plan(self.options, self.base, survey)
        require_pairs_room(self.work, plan.pairs + plan.town_pairs)
        values = {"survey": asdict(survey), "plan": asdict(plan)}
        atomic_write(path, json.dumps(values, indent=1) + "\n")
        return survey, plan

    def _make_tables(self, plan: AdaptationPlan) -> tuple[PairTable, PairTable]:
        """Pairs to train on, by lists that share every batch, and pairs of the part kept apart."""
        region = prepare_region(
            self.imagery, self.work / "worlds", pairs=plan.pairs,
            kept_share=self.options.kept_share,
            plan=OrthoPlan(seed=self.options.seed), heights=self.options.heights,
            buildings=self.options.buildings, workers=self.options.workers,
        )  # fmt: skip
        for text in region.notes:
            self.note(f"{text}.")
        for done in region.draw():
            self.progress("draw worlds", done, region.squares)
        worlds = self._open_pairs("worlds")
        if min(len(worlds.tables.get(split, ())) for split in ("train", "val")) < LEAST_QUERIES:
            counts = ", ".join(f"{len(t)} {split}" for split, t in worlds.tables.items())
            raise EmptyRegion(
                f"Too few worlds could be drawn ({counts}); {LEAST_QUERIES} to train on and as "
                "many to validate are the least.\nMost of the region is water, woods or roofs, "
                "where nobody stands. Give more imagery."
            )
        towns = self.work / "towns"
        many = len(TOWNS.styles) * TOWNS.towns_per_style
        for done, _ in enumerate(render_pairs(towns, TOWNS, self.options.workers), 1):
            self.progress("draw towns", done, many)
        tables = [worlds.table("train"), self._open_pairs("towns").table("train")]
        if self.options.pairs is not None:
            tables.append(catalogue.open_data(f"pairs:{self.options.pairs}").table("train"))
        kept = worlds.table("val")
        drawn = np.random.default_rng(self.options.seed).permutation(len(kept))[:MOST_QUERIES]
        return join_tables(tables), kept.take(np.sort(drawn))

    def _open_pairs(self, folder: str) -> catalogue.Data:
        return catalogue.open_data(f"pairs:{self.work / folder / PAIRS_NAME}")

    def _make_candidate(
        self, name: str, survey: Survey, plan: AdaptationPlan, trained: PairTable
    ) -> Path:
        """The model folder of a candidate; made unless it is there."""
        if name == GIVEN:
            return self.base.model.folder
        folder = self.work / "models" / name
        if (folder / INFO_NAME).is_file():
            return folder
        make_folder(folder.parent)
        network = self._tune(plan, trained) if name in (TUNED, BOTH) else self.base.network
        if name in (RENEWED, BOTH):
            network = self._renew(network, survey)
        self._export(network, name, folder)
        return folder

    def _tune(self, plan: AdaptationPlan, trained: PairTable) -> nn.Module:
        """The fine-tuned network, trained to the end unless that has been done."""
        from crossview.training.session import (
            Request,
            build_without_weights,
            fit,
            prepare,
            start_state,
        )
        from crossview.training.train_state import load_weights

        folder = self.work / "run"
        config = self._configure_tuning(plan, trained)
        request = Request(
            method=self.base.method,
            page=self.base.page,
            config=config,
            renew=partial(catalogue.renew_settings, self.base.method),
            data="worlds of the region",
            tables={"train": trained},
            info=self._describe_data(TUNED),
            out=folder,
            workers=1,
            val_share=0.0,
            save_every=25,
        )
        session = prepare(request)
        page = self.base.page.load()
        state = start_state(session)
        if not session.folder.state.is_file():
            state.model.load_state_dict(self.base.network.state_dict())
            if state.averaged is not None:
                state.averaged = {n: v.clone() for n, v in state.model.state_dict().items()}
        # Also after the last step: a kill may have come between the state and its weights.
        for report in fit(session, state):
            self.progress("train", report.step, plan.steps)
        network = build_without_weights(page, config)
        load_weights(network, session.folder.weights)
        return network.eval()

    def _configure_tuning(self, plan: AdaptationPlan, trained: PairTable) -> Any:
        """The base's settings, for a short training on several lists of pairs."""
        from crossview.training.session import name_no_weights

        config, lists = self.base.config, len(trained.list_parts())
        wanted = {
            "steps": plan.steps,
            "lr": RATE,
            "warmup_steps": min(WARMUP_STEPS, max(1, plan.steps // 4)),
            "ema_decay": DECAY,
            "parts": lists,
            "batch": max(2 * lists, config.batch - config.batch % lists),
            "seed": self.options.seed,
            **name_no_weights(config),
        }
        return replace(config, **{n: v for n, v in wanted.items() if hasattr(config, n)})

    def _renew(self, network: nn.Module, survey: Survey) -> nn.Module:
        """A copy with half-renewed statistics: windows of the part trained on, and photos."""
        from copy import deepcopy

        from crossview.training.renewal import renew_batch_norms

        network, info = deepcopy(network), self.base.model.info
        windows = list(self._read_windows(survey, info))
        renew_batch_norms(network, "aerial", windows, info.aerial)
        if self.options.photos:
            renew_batch_norms(network, "ground", list(self._read_strips(info)), info.ground)
        return network.eval()

    def _read_windows(self, survey: Survey, info: ModelInfo) -> Iterator[U8]:
        """An even sample of windows of the part trained on, as the network sees them."""
        side_m = info.aerial.required_footprint_m
        every = max(1, survey.windows // RENEWED_WINDOWS)
        tiling = Tiling(footprint_m=side_m, stride_m=SIDE_M / 4.0)
        views: list[U8] = []
        with open_region(self.options, info) as imagery:
            for window in cut_windows(imagery, tiling):
                north_m = math.radians(window.lat - survey.line_lat) * EARTH_RADIUS_M
                if north_m >= SIDE_M / 2.0 and window.number % every == 0:
                    views.append(make_aerial_view(window.pixels, window.metres_per_px, info.aerial))
        yield from (np.stack(views[n : n + _BATCH]) for n in range(0, len(views), _BATCH))

    def _read_strips(self, info: ModelInfo) -> Iterator[U8]:
        """The photos as the network sees them; those of one width together."""
        waiting: dict[int, list[U8]] = {}
        for path in list_photos(self.options.photos):
            query = prepare_query(load_photo(path), Hints(ignore_direction=True), info)
            strip = query.strips[len(query.strips) // 2]  # of the middle one of the lenses to try
            same = waiting.setdefault(strip.shape[1], [])
            same.append(strip)
            if len(same) == _BATCH:
                yield np.stack(waiting.pop(strip.shape[1]))
        for same in waiting.values():
            yield np.stack(same)

    def _export(self, network: nn.Module, name: str, folder: Path) -> None:
        """A model folder of a network, in half precision as packaged models are."""
        from crossview.training.export import export
        from crossview.training.import_weights import write_run
        from crossview.training.run_folder import FORMAT, RunFolder

        self.progress(f"export: {name}", 0, 1)
        config = self.base.config
        run = self.work / "exported"
        remove_whole(run)
        record = {"format": FORMAT, "method": self.base.method, "config": asdict(config)}
        record |= {"crossview": __version__, "data": "worlds of the region"}
        write_run(run, record, self._describe_data(name), network.state_dict())
        views = make_views(self.base.model.info)
        export(
            RunFolder(run), self.base.page.load(), config, folder,
            views=views, half=True, name=self.options.out.name,
        )  # fmt: skip
        remove_whole(run)
        self.progress(f"export: {name}", 1, 1)

    def _describe_data(self, name: str) -> dict[str, Any]:
        """What a candidate was made from, as ``info.json`` of a run tells it."""
        info, imagery = self.base.model.info, self.imagery.info
        credit = " ".join(t for t in (imagery.attribution, imagery.date) if t) or "own imagery"
        done = {RENEWED: "statistics renewed by", TUNED: "fine-tuned on worlds of"}
        words = done.get(name, "fine-tuned on worlds of, and statistics renewed by")
        return {
            "training_data": f"{info.training_data}; then {words} a region ({credit})",
            "licence": info.licence,
            "synthetic": info.synthetic and (name == RENEWED or imagery.synthetic is not None),
            "notes": info.notes.replace("weights stored as float16", "").strip("; "),
        }

    def _measure(self, name: str, measure: Callable[..., Measured], folder: Path) -> Measured:
        """What a candidate finds; read if it has been measured."""
        path = self.work / f"measured-{name.replace(' ', '-')}.json"
        with suppress(FileNotFoundError):
            return Measured.from_json(parse_object(read_bytes(path)))
        self.progress(f"measure: {name}", 0, 1)
        model = open_model(folder, threads=self.options.threads)
        measured = measure(model, progress=partial(self.progress, f"measure: {name}"))
        atomic_write(path, json.dumps(measured.to_json()))
        return measured

    def _measure_known(self, name: str, folder: Path, photos: KnownPhotoList) -> Measured:
        def measure(model: Model, progress: Callable[[int, int], None]) -> Measured:
            path = self.work / f"known-{name.replace(' ', '-')}.cvx"
            sources, source_options = _find_sources(self.options)
            allowed = IndexOptions(demo_only=True, allow_coarse=True)
            with open_job(sources, model, allowed, source_options) as job:
                index = build_index(
                    job.imagery, job.embedder, path, options=job.options,
                    progress=partial(self.progress, f"index: {name}"),
                )  # fmt: skip
                return measure_known(index, job.embedder, photos, self.note, progress)

        return self._measure(f"known-{name}", measure, folder)

    def _describe(
        self,
        choice: Choice,
        asked: Mapping[str, Mapping[str, Measured]],
        survey: Survey,
        plan: AdaptationPlan,
        digest: str,
    ) -> Adaptation:
        imagery, model = self.imagery.info, self.base.model
        figures = {
            data: {name: {"queries": len(m.spots), "references": m.references, **m.summarise()}
                   for name, m in measured.items()}
            for data, measured in asked.items()
        }  # fmt: skip
        return Adaptation(
            kept=choice.kept,
            judged_by=choice.judged_by,
            figures=figures,
            differences={name: asdict(c) for name, c in choice.comparisons.items()},
            region={
                "sources": [Path(source).name for source in imagery.sources],
                "attribution": imagery.attribution,
                "date": imagery.date,
                "bounds": list(imagery.bounds),
                "signature": imagery.signature,
                "area_km2": survey.area_km2,
                "trained_km2": survey.trained_km2,
                "kept_km2": survey.kept_km2,
            },
            plan=asdict(plan),
            base={"model": model.info.name, "fingerprint": model.fingerprint},
            request=digest,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _write(self, outcome: Adaptation) -> None:
        """The kept candidate's files and the record, as one folder."""
        kept = outcome.kept
        folder = self.base.model.folder if kept == GIVEN else self.work / "models" / kept
        files: dict[str, bytes | str] = {
            name: (folder / name).read_bytes()
            for name in MODEL_FILES
            if name != INFO_NAME and (folder / name).is_file()
        }
        info, given = read_info(folder), self.base.model.info
        noted = f"crossview adapt: {kept}; see {RECORD_NAME}"
        credit = (self.imagery.info.attribution,) if self.imagery.info.attribution else ()
        info = replace(
            info,
            name=self.options.out.name,
            licence=given.licence,
            notes="; ".join(text for text in (info.notes, noted) if text),
            attributions=tuple(dict.fromkeys((*given.attributions, *credit))),
            caution=given.caution,
            limits=given.limits,
            coarsest_imagery_m=given.coarsest_imagery_m,
        )
        record = {k: v for k, v in asdict(outcome).items() if k != "was_there"}
        files[RECORD_NAME] = json.dumps(record, indent=1) + "\n"
        files[INFO_NAME] = encode_info(info) + b"\n"
        write_together(self.options.out, files, (*MODEL_FILES, RECORD_NAME))
