"""A place on Earth in one command: photos, a model and an index of it, and how well that works.

``crossview region`` works in a folder. Each of its steps leaves files there and a record in
``steps``, with a digest of all that the step depends on: a step is skipped while that stays the
same, done again when it changes, and goes on where it was killed. Three areas are kept apart, with
a gap between them that no window spans: a model is adapted on the first, calibrated on the second,
and tested on the third, so that no figure is of ground or photos that it was made from.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from crossview import catalogue
from crossview._version import __version__
from crossview.adaptation import (
    GIVEN,
    KEPT_SHARE,
    KNOWN_CONDITIONS,
    LEAST_KNOWN,
    SIDE_M,
    AdaptOptions,
    KnownPhotoList,
    Measured,
    adapt,
    make_plan,
    measure_known,
    open_base,
    read_known_photos,
    survey_region,
)
from crossview.arrays import F64, I64, Bool
from crossview.assessment import JobProgress, Note
from crossview.calibration import calibrate as calibrating
from crossview.calibration.fit import CalibrationGoal, photos_needed
from crossview.calibration.known_photos import KnownPhoto, KnownPhotos, LeftOut, locate_known_photos
from crossview.errors import BadImagery, BadModel, InvalidValue, UsageError, require
from crossview.evaluation.run_comparison import compare_queries, correct_together
from crossview.files import atomic_write, make_folder, remove_whole, sweep
from crossview.geo.perimeters import Perimeter, parse_box
from crossview.geo.points import EARTH_RADIUS_M, measure_distances_m
from crossview.imagery.provenance import SourceOptions, compute_signature
from crossview.imagery.sources import open_sources
from crossview.index.build import IndexJob, build_index, estimate_build, open_job
from crossview.index.index_options import IndexOptions, choose_default_model, require_allowed
from crossview.index.store import PARTIAL_SUFFIX, Index
from crossview.localization.accuracy import RANKS, add_truth
from crossview.localization.calibration_record import Calibration
from crossview.localization.hints import Hints
from crossview.localization.locate import locate_files
from crossview.locks import lock
from crossview.model import Model, open_model
from crossview.outputs.map_page import write_map
from crossview.pairs.table import PairTable, join_tables
from crossview.reports.region_page import CREDITS_NAME, NUMBERS_NAME, PAGE_NAME, write_region_report
from crossview.schema import compute_checksum, parse_object, read_bytes
from crossview.street import gathering
from crossview.street.gathering import FOLDER_KIND
from crossview.street.own_photos import OwnPhotoOptions, read_own_photos
from crossview.street.pairing import ATTRIBUTION_NAME, PairingOptions, make_pairs
from crossview.street.street_photos import SelectionOptions, StreetPhoto, split_by_area
from crossview.worlds.town_pairs import COLUMNS, PAIRS_NAME

REQUEST_NAME, STEPS_FOLDER = "region.json", "steps"
INDEX_NAME, MODEL_NAME, MAP_NAME = "region.cvx", "model", "map.html"
PAIRS_KIND = "pairs"  # of --street, beside services and a folder
BEFORE_NAME = "before.cvx"  # an index by the model as it was given, while the test runs
STEPS = ("imagery", "street", "division", "model", "index", "calibration", "test", "map", "report")
OUTPUTS = {  # of each step, below the region's folder
    "street": ("street/pairs",),
    "division": ("adapting.csv", "calibrating.csv", "testing.csv"),
    "model": (MODEL_NAME, f"{MODEL_NAME}.adapting"),
    "index": (INDEX_NAME, f"{INDEX_NAME}{PARTIAL_SUFFIX}"),
    "test": (BEFORE_NAME, f"{BEFORE_NAME}{PARTIAL_SUFFIX}"),
    "map": (MAP_NAME,),
    "report": (PAGE_NAME, NUMBERS_NAME, CREDITS_NAME),
}
LEAST_PAIRS = 64  # real pairs that training is worth mixing in
LEAST_CALIBRATED = 25  # photos on either side of the line between calibration and test
SOUTH_SHARE = (KEPT_SHARE, 0.5)  # of the region's height: least and most that is kept apart
GOALS = ((0.9, 0.95), (0.9,), (0.8,))  # coverages, the strictest first
MOST_SHOWN = 30  # test photos on the map page
_PHOTO_S, _PHOTO_BYTES = 0.35, 1_500_000  # to locate a photo, and of one that is fetched
KINDS = ("panoramas", "photos", "photos of unknown lens")


@dataclass(frozen=True, kw_only=True)
class RegionOptions:
    """What region, from which imagery and street photos, and within what time.

    ``sources`` are files and folders: what lies behind an address has been fetched before.
    ``street``: a service as :func:`crossview.street.gathering.parse_street` takes it,
    ``folder:PATH`` or ``pairs:FILE``; "" for none. ``area``: where a service is asked.
    """

    out: Path
    sources: tuple[Path, ...]
    street: str = ""
    area: Perimeter | None = None  # None: all of the imagery
    model: str = ""  # "": the packaged one for the imagery
    most: int = 600  # street photos
    max_age_years: float | None = None  # of street photos against the imagery
    minutes: float = 40.0  # of adapting
    training: bool = True
    token_file: Path | None = None  # of a service
    accepted_licences: tuple[str, ...] = ()  # of a service's photos, beside open ones
    source_options: SourceOptions = field(default_factory=SourceOptions)
    index_options: IndexOptions = field(default_factory=IndexOptions)
    seed: int = 1
    workers: int = 0
    threads: int = 0
    language: str = "en"  # of the report and the map

    def __post_init__(self) -> None:
        require(1 <= self.most <= 100_000, f"--most must lie in [1, 100000], got {self.most}.")
        if not self.sources:
            raise UsageError("Say where the imagery is: --imagery SOURCE, such as city.tif.")
        if self.max_age_years is not None and self.street.partition(":")[0] in {"", PAIRS_KIND}:
            raise UsageError(
                "--max-age is about street photos that are gathered or paired here, and --street "
                "names none.\nRemove --max-age, or give --street panoramax or folder:PATH."
            )


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """A step of the plan: what it does in a sentence, and what that takes here."""

    name: str
    what: str
    seconds: float = 0.0
    bytes: int = 0
    done: bool = False


@dataclass(frozen=True, kw_only=True)
class RegionPlan:
    """What would be done, before anything is."""

    area_km2: float
    steps: tuple[PlannedStep, ...]
    licences: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Of all that is still to do."""
        return sum(step.seconds for step in self.steps if not step.done)

    @property
    def bytes(self) -> int:
        """On disk, of all that is still to do."""
        return sum(step.bytes for step in self.steps if not step.done)


@dataclass(frozen=True, kw_only=True, eq=False)
class Division:
    """Which photos [N] are for what; those in a gap are for nothing."""

    adapting: Bool
    calibrating: Bool
    testing: Bool
    gap_m: float

    @property
    def in_gap(self) -> int:
        """Photos that are left out because windows around them would be shared."""
        return int((~(self.adapting | self.calibrating | self.testing)).sum())


def divide_photos(
    lat: F64, lon: F64, line_lat: float, *, gap_m: float, trained: bool = True
) -> Division:
    """Divide photos [N] into three areas that lie at least ``gap_m`` apart.

    North of the line a model is adapted; what lies south of it is divided again into calibration
    and test (:func:`split_by_area`). Where too few photos lie there for both, all are for the test.
    Without training nothing is north of a line.
    """
    half_m = gap_m / 2.0
    north_m = np.radians(lat - line_lat) * EARTH_RADIUS_M if trained else np.full(len(lat), -np.inf)
    adapting, south = north_m >= half_m, north_m <= -half_m
    nobody = np.zeros(len(lat), np.bool_)
    whole = Division(adapting=adapting, calibrating=nobody, testing=south, gap_m=gap_m)
    rows = np.flatnonzero(south)
    halves = split_by_area(lat[rows], np.full(len(rows), half_m), val_share=0.0, test_share=0.5)
    splits = np.array(halves.splits, dtype=object)
    calibrate, test = nobody.copy(), nobody.copy()
    calibrate[rows[splits == "train"]] = True
    test[rows[splits == "test"]] = True
    if min(calibrate.sum(), test.sum()) < LEAST_CALIBRATED:
        return whole
    return Division(adapting=adapting, calibrating=calibrate, testing=test, gap_m=gap_m)


def choose_kept_share(lat: F64, south: float, north: float) -> float:
    """The share of a region's height to keep apart so that about half of the photos lie there."""
    if not len(lat) or north <= south:
        return KEPT_SHARE
    share = (float(np.median(lat)) - south) / (north - south)
    return round(float(np.clip(share, *SOUTH_SHARE)), 3)


@dataclass(frozen=True)
class _Region:
    """One region under way. What a step gives is a JSON object, kept with its record."""

    options: RegionOptions
    progress: JobProgress
    note: Note

    @property
    def out(self) -> Path:
        return self.options.out

    # --- what the steps rest on

    @cached_property
    def imagery_signature(self) -> str:
        with open_sources(self.options.sources, self.options.source_options) as imagery:
            return imagery.info.signature

    @cached_property
    def base(self) -> Model:
        """The model as it is given."""
        name = self.options.model
        if not name:
            with open_sources(self.options.sources, self.options.source_options) as imagery:
                name = choose_default_model(imagery.info)
        return open_model(name, threads=self.options.threads)

    def decide_training(self) -> str:
        """Why no training is possible or wanted, in a sentence; "" if one is."""
        if not self.options.training:
            return "it was not wanted (--no-training)"
        if not _has_torch():
            return "PyTorch is not installed (pip install 'crossview[train]')"
        try:
            open_base(self.base.name, self.options.threads)
            with open_sources(self.options.sources, self.options.source_options) as imagery:
                survey_region(imagery)
        except (BadModel, BadImagery) as problem:
            return str(problem).splitlines()[0].rstrip(".")
        return ""

    def identify(self, name: str) -> dict[str, Any]:
        """All that a step depends on beside the steps before it, as JSON."""
        options = self.options
        read = {k: v for k, v in options.source_options.to_json().items() if v is not None}
        index = {
            "footprint_m": options.index_options.footprint_m,
            "stride_m": options.index_options.stride_m,
            "allow_coarse": options.index_options.allow_coarse,
            "demo_only": options.index_options.demo_only,
        }
        area = None if options.area is None else options.area.to_geojson()
        facts: dict[str, dict[str, Any]] = {
            "imagery": {"imagery": self.imagery_signature, "read": read, "area": area},
            "street": {
                "street": options.street,
                "most": options.most,
                "there": self.street_facts,
                # said only where it is asked for: regions of before go on
                **({} if options.max_age_years is None else {"max_age": options.max_age_years}),
            },
            "division": {
                "base": self.base.fingerprint,
                "training": options.training and _has_torch(),
                "footprint_m": options.index_options.footprint_m,
            },
            "model": {"minutes": options.minutes, "seed": options.seed},
            "index": index,
            "calibration": {"goals": GOALS},
            "test": {},
            "map": {"language": options.language},
            "report": {"language": options.language, "most": options.most},
        }
        return facts[name]

    @cached_property
    def street_facts(self) -> str:
        """What changes when a folder of photos does; "" for a service, which is asked once."""
        kind, _, rest = self.options.street.partition(":")
        if kind == PAIRS_KIND:
            return hashlib.sha256(_read_list(Path(rest))).hexdigest()
        if kind == FOLDER_KIND:
            own = read_own_photos([Path(rest)], OwnPhotoOptions())
            files = [photo.file for photo in own.photos if photo.file is not None]
            return compute_signature([*files, *([Path(rest)] if Path(rest).is_file() else [])])
        return ""

    def compute_key(self, name: str) -> str:
        """A digest of all that a step depends on, the steps before it included."""
        before = STEPS[: STEPS.index(name) + 1]
        values = {step: self.identify(step) for step in before}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    # --- records of steps

    def read_record(self, name: str) -> dict[str, Any]:
        return read_step(self.out, name)

    def is_done(self, name: str) -> bool:
        """Whether a step was done with the same inputs, and what it left is still there."""
        record = self.read_record(name)
        if record.get("key") != self.compute_key(name) or not record.get("done"):
            return False
        made = record.get("made", ())
        return all((self.out / path).exists() for path in made)

    def run_step(self, name: str) -> dict[str, Any]:
        """What a step gives, from its record or by doing it."""
        if self.is_done(name):
            result: dict[str, Any] = self.read_record(name)["result"]
            return result
        key = self.compute_key(name)
        path = self.out / STEPS_FOLDER / f"{name}.json"
        record = self.read_record(name)
        if record.get("key") != key or record.get("done"):  # other inputs, or files that are gone
            self._clear(name)
            atomic_write(path, json.dumps({"step": name, "key": key, "done": False}) + "\n")
        begun = time.monotonic()
        result = getattr(self, f"make_{name}")()
        record = {
            "step": name,
            "key": key,
            "done": True,
            "made": [path for path in OUTPUTS.get(name, ()) if (self.out / path).exists()],
            "result": result,
            "seconds": round(time.monotonic() - begun, 1),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        record = json.loads(json.dumps(record))  # as it will be read
        record["checksum"] = compute_checksum(record)
        atomic_write(path, json.dumps(record, indent=1) + "\n")
        given: dict[str, Any] = json.loads(json.dumps(result))
        return given

    def _clear(self, name: str) -> None:
        """Remove what an earlier run of a step left; never through a link."""
        for output in OUTPUTS.get(name, ()):
            path = self.out / output
            if path.is_dir() and not path.is_symlink():
                remove_whole(path)
            else:
                path.unlink(missing_ok=True)

    def result(self, name: str) -> dict[str, Any]:
        """What a step that is done has given."""
        given: dict[str, Any] = self.read_record(name)["result"]
        return given

    # --- the plan

    def plan_street(self) -> tuple[int, PlannedStep, tuple[str, ...]]:
        """How many photos there will be, about, the step that gets them, and their licences."""
        kind, _, rest = self.options.street.partition(":")
        if not kind:
            return 0, PlannedStep(name="street", what=""), ()
        if kind == PAIRS_KIND:
            count = len(_read_pairs(Path(rest)))
            return count, PlannedStep(name="street", what=f"take {count} pairs of {rest}"), ()
        if kind == FOLDER_KIND:
            self._select()  # or why photos cannot be chosen so, before anything is done
            own = read_own_photos([Path(rest)], OwnPhotoOptions())
            count = min(len(own.photos), self.options.most)
            what = f"pair {count} of {len(own.photos)} photos that know their place in {rest}"
            return count, PlannedStep(name="street", what=what, seconds=count * _PHOTO_S), ()
        with self._open_service() as access:
            plan = gathering.plan_area(
                self.area, access, self._get_gathered(), self._choose_photos()
            )
            step = PlannedStep(
                name="street",
                what=f"fetch {len(plan.chosen) - plan.fetched} of {plan.found} photos that "
                f"{access.service.title} has there, {plan.headings} with a heading",
                seconds=plan.seconds + len(plan.chosen) * _PHOTO_S,
                bytes=round(plan.bytes),
            )
        licences = tuple(f"photos: {name} ({n})" for name, n in plan.licences.items())
        return len(plan.chosen), step, licences

    def plan_training(self, photos: int) -> tuple[PlannedStep, float]:
        """The step that adapts, and the square kilometres that it is about."""
        base = open_base(self.base.name, self.options.threads)
        with open_sources(self.options.sources, self.options.source_options) as imagery:
            survey = survey_region(imagery)
        known = Path("calibrating.csv") if photos >= 8 * LEAST_KNOWN else None
        plan = make_plan(replace(self._plan_adapting({}), known=known), base, survey)
        step = PlannedStep(
            name="model",
            what=f"adapt {self.base.name}: about {plan.pairs} pairs of worlds, {plan.steps} steps",
            seconds=plan.total_s,
            bytes=plan.bytes,
        )
        return step, survey.area_km2

    # --- the steps

    def make_imagery(self) -> dict[str, Any]:
        """What the imagery is and shows."""
        with open_sources(self.options.sources, self.options.source_options) as imagery:
            info = imagery.info
        south, west, north, east = info.bounds
        return {
            "sources": [Path(source).name for source in info.sources],
            "attribution": info.attribution,
            "date": info.date,
            "metres_per_px": info.metres_per_px,
            "bounds": [south, west, north, east],
            "synthetic": info.synthetic is not None,
            "warnings": list(info.warnings),
        }

    def make_street(self) -> dict[str, Any]:
        """Photos of known place with the ground around them, as pairs.csv; {} without any."""
        kind, _, rest = self.options.street.partition(":")
        if not kind:
            return {"pairs": None, "licences": {}}
        if kind == PAIRS_KIND:
            pairs = Path(os.path.abspath(rest))
            licence = _read_licence(pairs)
            count = len(_read_pairs(pairs))
            return {"pairs": str(pairs), "licences": {licence: count}, "credits": licence}
        out = self.out / "street" / "pairs"
        with open_sources(self.options.sources, self.options.source_options) as imagery:
            how = PairingOptions(
                selection=self._select(),
                val_share=0.0,
                test_share=0.0,
                workers=self.options.workers,
            )
            make = partial(make_pairs, imagery=imagery, out=out, options=how)
            if kind == FOLDER_KIND:
                own = read_own_photos([Path(rest)], OwnPhotoOptions())
                report = make(
                    own.photos, left_out=own.left_out, notes=own.notes, progress=self.progress
                )
            else:
                report = make(self._gather(), progress=self.progress)
        said = Counter(pair.licence or "none stated" for pair in report.pairs)
        return {
            "pairs": _relate(out / PAIRS_NAME, self.out),
            "licences": dict(said.most_common()),
            "left_out": report.count_rules(),
            "credits": (out / ATTRIBUTION_NAME).read_text(encoding="utf-8"),
        }

    def _gather(self) -> tuple[StreetPhoto, ...]:
        """Photos of a service; none is fetched twice."""
        with self._open_service() as access:
            gathered = gathering.gather_photos(
                self.area, access, self._get_gathered(), self._choose_photos(),
                progress=partial(self.progress, "street photos"), note=self.note,
            )  # fmt: skip
        if gathered.later:
            self.note(f"{gathered.later} photos could not be had now; their servers do not answer.")
        return gathered.photos

    def _choose_photos(self) -> gathering.GatherOptions:
        return gathering.GatherOptions(
            selection=self._select(), accepted_licences=self.options.accepted_licences
        )

    def _select(self) -> SelectionOptions:
        """The rules of street photos. The imagery is opened only where its date matters."""
        options, date = self.options, ""
        if options.max_age_years is not None:
            with open_sources(options.sources, options.source_options) as imagery:
                date = imagery.info.date
        return SelectionOptions(
            most=options.most,
            max_age_years=options.max_age_years,
            imagery_date=date,
            seed=options.seed,
        )

    def _get_gathered(self) -> Path:
        """A folder for each service and area, so that others do not disturb what was fetched."""
        asked = [self.options.street, self.area.to_geojson()]
        mark = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]
        return self.out / "street" / f"gathered-{mark}"

    @cached_property
    def area(self) -> Perimeter:
        """The area that was given, or all of the imagery."""
        if self.options.area is not None:
            return self.options.area
        with open_sources(self.options.sources, self.options.source_options) as imagery:
            south, west, north, east = imagery.info.bounds
        return parse_box(f"{west},{south},{east},{north}")

    @contextmanager
    def _open_service(self) -> Iterator[gathering.ServiceAccess]:
        service = gathering.parse_street(self.options.street)
        token = gathering.read_token(service, self.options.token_file)
        with gathering.open_service(service, token) as access:
            yield access

    def make_division(self) -> dict[str, Any]:
        """Three lists of photos: to adapt on, to calibrate on, to test on."""
        pairs = self.result("street")["pairs"]
        table = None if pairs is None else _read_pairs(self.out / pairs)
        why = self.decide_training()
        trained = not why
        south, _, north, _ = self.result("imagery")["bounds"]
        lat, lon = (np.empty(0), np.empty(0)) if table is None else table.ground_latlon.T
        kept_share = choose_kept_share(lat, south, north)
        line_lat = math.nan
        if trained:
            with open_sources(self.options.sources, self.options.source_options) as imagery:
                line_lat = survey_region(imagery, kept_share).line_lat
        given = {"why_untrained": why, "kept_share": kept_share}
        given |= {"line_lat": line_lat if trained else None}
        if table is None:
            return given | {"adapting": 0, "calibrating": 0, "testing": 0, "in_gap": 0}
        parts = divide_photos(lat, lon, line_lat, gap_m=self._gap_m(), trained=trained)
        rows = np.isin(table.pairs[:, 0], np.flatnonzero(parts.adapting))
        counts = {"adapting": int(rows.sum())}
        if rows.any():
            _write_pairs(self.out / "adapting.csv", table.take(rows))
        for name in ("calibrating", "testing"):
            chosen = np.flatnonzero(getattr(parts, name))
            counts[name] = len(chosen)
            if len(chosen):
                _write_places(self.out / f"{name}.csv", table, chosen)
        return given | counts | {"in_gap": parts.in_gap, "gap_m": parts.gap_m}

    def _gap_m(self) -> float:
        """Ground that a window shows, of an index or of a pair, whichever is wider."""
        footprint_m = self.options.index_options.footprint_m
        return max(SIDE_M, footprint_m or self.base.info.aerial.required_footprint_m)

    def make_model(self) -> dict[str, Any]:
        """The adapted model, or why it stays as it was given."""
        why = self.result("division")["why_untrained"]
        untrained = {"model": self.base.name, "kept": GIVEN, "why": why}
        if why:
            return untrained
        try:
            outcome = adapt(self._plan_adapting(self.result("division")), self.progress, self.note)
        except BadImagery as problem:  # such as water and woods, where nobody stands
            remove_whole(self.out / f"{MODEL_NAME}.adapting")
            return untrained | {"why": str(problem).splitlines()[0].rstrip(".")}
        return {
            "model": None,
            "kept": outcome.kept,
            "why": "",
            "judged_by": outcome.judged_by,
            "differences": dict(outcome.differences),
        }

    def _plan_adapting(self, division: Mapping[str, Any]) -> AdaptOptions:
        """Worlds of the north; pairs, if they are enough, and photos without their places."""
        pairs, photos = self.out / "adapting.csv", tuple[Path, ...]()
        if division.get("adapting"):
            photos = _read_pairs(pairs).ground
        known = self.out / "calibrating.csv"
        return AdaptOptions(
            sources=self.options.sources,
            out=self.out / MODEL_NAME,
            model=self.base.name,
            source_options=self.options.source_options,
            pairs=pairs if division.get("adapting", 0) >= LEAST_PAIRS else None,
            photos=photos,
            known=known if division.get("calibrating", 0) >= LEAST_KNOWN else None,
            minutes=self.options.minutes,
            seed=self.options.seed,
            workers=self.options.workers,
            threads=self.options.threads,
            kept_share=division.get("kept_share", KEPT_SHARE),
        )

    @property
    def model_name(self) -> str:
        """What ``--model`` takes: the adapted model's folder, or the name of the given one."""
        return self.result("model")["model"] or str(self.out / MODEL_NAME)

    @contextmanager
    def _open_job(self, model: str | Model) -> Iterator[IndexJob]:
        options = self.options
        with open_job(
            options.sources, model, options.index_options, options.source_options,
            threads=options.threads,
        ) as job:  # fmt: skip
            yield job

    def make_index(self) -> dict[str, Any]:
        """The region's index."""
        with self._open_job(self.model_name) as job:
            index = build_index(
                job.imagery, job.embedder, self.out / INDEX_NAME, options=job.options,
                progress=partial(self.progress, "index"),
            )  # fmt: skip
        manifest = index.manifest
        return {
            "windows": index.count,
            "footprint_m": manifest.footprint_m,
            "stride_m": manifest.stride_m,
            "area_km2": manifest.area_km2,
            "warnings": list(manifest.warnings),
        }

    def _open_index(self) -> tuple[Index, Model]:
        model = open_model(self.model_name, threads=self.options.threads)
        index = Index.open(self.out / INDEX_NAME)
        index.require_model(model.fingerprint)
        return index, model

    def make_calibration(self) -> dict[str, Any]:
        """Probabilities for the kinds of photos of which there are enough, or why for none."""
        listed = self.out / "calibrating.csv"
        if not self.result("division")["calibrating"]:
            least = photos_needed(min(min(goal) for goal in GOALS))
            return {"kinds": [], "why": f"it takes at least {least} photos of a kind, kept apart"}
        photos = self._locate_known(listed, "calibrate")
        goals = [CalibrationGoal(coverages=coverages) for coverages in GOALS]
        goal = max(goals, key=lambda g: _count_kinds(photos, g))  # of equals the strictest
        refusals = list(calibrating.list_refusals(photos, goal)) if photos else []
        if not _count_kinds(photos, goal):
            return {"kinds": [], "why": " ".join(refusals) or "none of the photos can be used"}
        index, _ = self._open_index()
        with lock(index.path, "crossview region", wait=True):
            index = Index.open(index.path)
            made = calibrating.calibrate(photos, goal, index.manifest.stride_m)
            calibrating.keep_calibration(index, made)
        return {"kinds": [[kind.name, kind.n] for kind in made.kinds], "why": " ".join(refusals)}

    def _locate_known(self, listed: Path, job: str) -> list[KnownPhoto]:
        """Photos of a list as ``crossview locate`` would look for them, with their truth."""
        index, model = self._open_index()
        photos = read_known_photos(listed)
        where = {str(path): n for n, path in enumerate(photos.paths)}
        left_out = LeftOut()
        found = locate_known_photos(
            index, model, photos.paths,
            lambda photo: photos.places[where[str(photo.path)]],
            lambda photo: _hint_lens(photos, where[str(photo.path)]),
            left_out,
            partial(self.progress, job),
        )  # fmt: skip
        if unused := len(left_out.unreadable) + left_out.outside:
            self.note(f"{unused} of {len(photos.paths)} photos cannot be used, to {job}.")
        return found

    def make_test(self) -> dict[str, Any]:
        """Photos kept apart among all windows: by kind, by heading, before and after adapting."""
        if not self.result("division")["testing"]:
            return {"kinds": [], "calibration": []}
        photos = read_known_photos(self.out / "testing.csv")
        index, model = self._open_index()
        changed = self.result("model")["kept"] != GIVEN
        matchers = {"adapted" if changed else GIVEN: (index, model)}
        if changed:
            with self._open_job(self.base) as job:
                before = build_index(
                    job.imagery, self.base, self.out / BEFORE_NAME, options=job.options,
                    progress=partial(self.progress, "index, as the model was given"),
                )  # fmt: skip
            matchers = {GIVEN: (before, self.base), **matchers}
        kinds = [
            kind
            for name, rows in group_by_kind(photos)
            if (kind := self._test_kind(name, photos.take(rows), matchers))
        ]
        for name in OUTPUTS["test"]:
            remove_whole(self.out / name)
        return {"kinds": kinds, "calibration": self._test_calibration(index)}

    def _test_kind(
        self, name: str, photos: KnownPhotoList, matchers: Mapping[str, tuple[Index, Model]]
    ) -> dict[str, Any]:
        """Figures of one kind of photos by condition and model; {} where none lies in the index."""
        index = next(iter(matchers.values()))[0]
        away_m = [measure_distances_m(place, index.lat, index.lon) for place in photos.places]
        near = np.array([(metres <= 25.0).mean() for metres in away_m])
        inside = near > 0.0
        if not inside.any():
            return {}
        photos = photos.take(np.flatnonzero(inside))
        found: dict[str, Any] = {}
        for condition in KNOWN_CONDITIONS:
            rows = np.arange(len(photos.paths))
            if condition == KNOWN_CONDITIONS[1]:
                rows = np.flatnonzero(np.isfinite(photos.heading_deg))
            if not len(rows):
                continue
            asked = {
                label: measure_known(
                    *matcher, photos.take(rows), self.note,
                    partial(self.progress, f"test: {name}, {condition}"), (condition,),
                )
                for label, matcher in matchers.items()
            }  # fmt: skip
            found[condition] = _summarise(asked, condition)
        return {
            "name": name,
            "photos": len(photos.paths),
            "by_chance": float(near[inside].mean()),
            "conditions": found,
        }

    def _test_calibration(self, index: Index) -> list[dict[str, Any]]:
        """What the calibration states of the test photos, none of which it was fitted to."""
        if (values := Index.open(index.path).manifest.calibration) is None:
            return []
        calibration = Calibration.from_json(values)
        photos = self._locate_known(self.out / "testing.csv", "test the calibration")
        cell_km2 = (index.manifest.stride_m / 1000.0) ** 2
        figures = []
        for kind in calibration.kinds:
            own = [
                p
                for p in photos
                if kind.covers_view(p.fov_deg, assumed=p.assumed, directed=p.directed)
            ]
            if not own:
                continue
            coverages = tuple(reach.coverage for reach in kind.fit.reaches)
            goal = CalibrationGoal(
                coverages=coverages, share=calibration.share, false_reject=calibration.false_reject
            )
            known = KnownPhotos.of(own)
            outcome = calibrating.judge(known, kind.fit, calibration.share)
            figures.append({
                "name": kind.name,
                **calibrating.figures(known, outcome, goal, cell_km2),
            })  # fmt: skip
        return figures

    def make_map(self) -> dict[str, Any]:
        """The map page: some test photos with their truth, or the region alone."""
        index, model = self._open_index()
        answers = []
        if self.result("division")["testing"]:
            photos = read_known_photos(self.out / "testing.csv")
            where = {str(path): n for n, path in enumerate(photos.paths)}
            every = max(1, math.ceil(len(photos.paths) / MOST_SHOWN))
            shown, done = photos.paths[::every], 0
            for located, taken in locate_files(
                index, model, shown,
                lambda photo: _hint_lens(photos, where[str(photo.path)], known=True),
                lambda problem: self.note(str(problem)),
            ):  # fmt: skip
                answers += [
                    add_truth(answer, photos.places[where[str(photo.path)]])
                    for photo, _, answer in located
                ]
                done += taken
                self.progress("map", done, len(shown))
        remarks = write_map(self.out / MAP_NAME, index, answers)
        return {"photos": len(answers), "remarks": remarks}

    def make_report(self) -> dict[str, Any]:
        """The report and whom to name."""
        facts = {name: self.result(name) for name in STEPS if name != "report"}
        info = open_model(self.model_name).info
        model = {
            "name": info.name,
            "licence": info.licence,
            "training_data": info.training_data,
        }
        name = Path(os.path.abspath(self.out)).name
        return write_region_report(self.out, name, facts, model, self.options.language)


def plan_region(
    options: RegionOptions, note: Note, fetched: Sequence[PlannedStep] = ()
) -> RegionPlan:
    """What :func:`make_region` would do, and what that takes here; nothing is written.

    ``fetched``: steps that come before it, of imagery from an address.
    """
    _require_own(options.out)
    region = _Region(options, lambda _job, _done, _total: None, note)
    with open_sources(options.sources, options.source_options) as imagery:
        info = imagery.info
    with region._open_job(region.base) as job:
        require_allowed(info, region.base.info, job.view, job.options)
        needs = estimate_build(job)
    area_km2 = needs.windows * (needs.stride_m / 1000.0) ** 2
    photos, street, licences = region.plan_street()
    division = region.read_record("division").get("result", {})
    why = division.get("why_untrained") if region.is_done("division") else region.decide_training()
    adapting, remarks = PlannedStep(name="model", what="keep the model as it is given"), []
    if why:
        remarks.append(f"Nothing will be trained: {why}.")
    else:
        adapting, area_km2 = region.plan_training(photos)
    if not options.street:
        remarks.append("Without street photos nothing is calibrated and nothing tested (--street).")
    tested = photos // 2
    steps = [
        *fetched,
        street,
        adapting,
        PlannedStep(
            name="index",
            what=f"index {needs.windows} windows, every {needs.stride_m:g} m",
            seconds=needs.seconds,
            bytes=needs.bytes,
        ),
        PlannedStep(
            name="calibration",
            what=f"calibrate on about {tested // 2} photos, if they are enough",
            seconds=tested / 2 * _PHOTO_S,
        ),
        PlannedStep(
            name="test",
            what=f"test on about {tested - tested // 2} photos kept apart, before and after",
            seconds=(0.0 if why or not tested else needs.seconds) + 2.5 * tested * _PHOTO_S,
        ),
        PlannedStep(name="report", what="the map page and the report", seconds=5.0),
    ]
    done = {name for name in STEPS if region.is_done(name)}
    return RegionPlan(
        area_km2=area_km2,
        steps=tuple(replace(step, done=step.name in done) for step in steps if step.what),
        licences=(
            f"imagery: {' '.join(t for t in (info.attribution, info.date) if t) or 'not stated'}",
            *licences,
            f"model: {region.base.info.licence or 'not stated'}",
        ),
        remarks=tuple(remarks),
    )


def plan_photos(options: RegionOptions, note: Note) -> tuple[PlannedStep, tuple[str, ...]]:
    """The step that gets street photos, and their licences; the imagery may still be far away."""
    _require_own(options.out)
    if options.max_age_years is not None:
        note("The age of photos counts once the imagery is here, which tells its date.")
        options = replace(options, max_age_years=None)
    region = _Region(options, lambda _job, _done, _total: None, note)
    _, step, licences = region.plan_street()
    return step, licences


def make_region(options: RegionOptions, progress: JobProgress, note: Note) -> dict[str, Any]:
    """Do what is to be done of all steps; returns the content of ``report.json``.

    A run that was killed goes on where it was. Raises UsageError for a folder that is not a
    region's, and InUse where another process works in it.
    """
    if not options.sources:
        raise UsageError("Say where the imagery is: --imagery SOURCE, such as city.tif.")
    out = options.out
    _require_own(out)
    region = _Region(options, progress, note)
    with lock(out, "crossview region", make_parents=True):
        _require_own(out)
        make_folder(out / STEPS_FOLDER)
        for folder in (out, out / STEPS_FOLDER):
            sweep(folder)
        if not (out / REQUEST_NAME).is_file():
            atomic_write(out / REQUEST_NAME, json.dumps({"crossview": __version__}) + "\n")
        for name in STEPS:
            if not region.is_done(name):
                note(f"Step {STEPS.index(name) + 1} of {len(STEPS)}: {name}.")
            region.run_step(name)
    return parse_object(read_bytes(out / NUMBERS_NAME))


def read_step(out: Path, name: str) -> dict[str, Any]:
    """The record of a region's step; {} if it was never begun, or its record is damaged."""
    try:
        record = parse_object(read_bytes(out / STEPS_FOLDER / f"{name}.json"))
    except (OSError, ValueError):
        return {}
    stated = record.pop("checksum", None)
    return record if not record.get("done") or stated == compute_checksum(record) else {}


def group_by_kind(photos: KnownPhotoList) -> list[tuple[str, I64]]:
    """The rows of panoramas, of photos, and of photos whose field of view is not known."""
    fov = photos.fov_deg
    kinds = (fov >= calibrating.PANORAMA_DEG, fov < calibrating.PANORAMA_DEG, np.isnan(fov))
    named = [(name, np.flatnonzero(rows)) for name, rows in zip(KINDS, kinds, strict=True)]
    return [(name, rows) for name, rows in named if len(rows)]


def _has_torch() -> bool:
    return find_spec("torch") is not None


def _require_own(out: Path) -> None:
    """UsageError for what is there and is no region's folder."""
    if not out.exists() or (out / REQUEST_NAME).is_file():
        return
    if out.is_dir() and all(path.name == STEPS_FOLDER or path.name.startswith(".")
                            for path in out.iterdir()):  # fmt: skip
        return
    raise UsageError(
        f"{out} exists and was not made by crossview region; it is left as it is.\n"
        "Choose another --out."
    )


def _read_list(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise InvalidValue(f"{path} cannot be read: {problem.strerror}.") from problem


def _read_pairs(path: Path) -> PairTable:
    """All pairs of a list, whatever their splits, of photos whose place is known."""
    tables = list(catalogue.open_data(f"pairs:{path}").tables.values())
    table = join_tables(tables, as_parts=False)
    placed = np.isfinite(table.ground_latlon[table.pairs[:, 0]]).all(axis=1)
    return table.take(np.flatnonzero(placed))


def _read_licence(pairs: Path) -> str:
    """What ``pairs.json`` beside a list says of its pictures' licence."""
    try:
        said = parse_object(read_bytes(pairs.with_name("pairs.json"))).get("licence")
    except (OSError, ValueError):
        said = None
    return said if isinstance(said, str) and said else "not stated"


def _relate(path: Path, folder: Path) -> str:
    """A path as a list in ``folder`` names it, so that the folder can be moved as a whole."""
    inside = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    return inside[0].relative_to(inside[1]).as_posix() if inside[0].is_relative_to(
        inside[1]
    ) else str(inside[0])  # fmt: skip


def _write_pairs(path: Path, table: PairTable) -> None:
    """The table as a ``pairs.csv``, all rows of split train; what is ignored is left out."""
    rows: list[Sequence[object]] = [COLUMNS]
    for g, a in table.pairs:
        rows.append((
            _relate(table.ground[g], path.parent), _relate(table.aerial[a], path.parent),
            "train", "match", *map(_cell, table.ground_latlon[g]),
            *map(_cell, table.aerial_latlon[a]),
            _cell(table.metres_per_px[a]), _cell(table.up_bearing_deg[a]),
            _cell(table.heading_deg[g]), _cell(table.fov_deg[g]),
            "perspective" if table.perspective[g] else "panorama",
        ))  # fmt: skip
    _write_rows(path, rows)


def _write_places(path: Path, table: PairTable, chosen: I64) -> None:
    """Some photos of a table as a ``places.csv``."""
    rows: list[Sequence[object]] = [("file", "lat", "lon", "heading_deg", "fov_deg")]
    for n in chosen:
        fov = table.fov_deg[n] if table.perspective[n] else 360.0
        numbers = (*table.ground_latlon[n], table.heading_deg[n], fov)
        rows.append((_relate(table.ground[n], path.parent), *map(_cell, numbers)))
    _write_rows(path, rows)


def _cell(value: float) -> str:
    return f"{value:.10g}" if math.isfinite(value) else ""


def _write_rows(path: Path, rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    atomic_write(path, text.getvalue())


def _hint_lens(photos: KnownPhotoList, row: int, *, known: bool = False) -> Hints:
    """What a list says of a photo's lens, and with ``known`` of its heading."""
    fov, heading = float(photos.fov_deg[row]), float(photos.heading_deg[row])
    return Hints(
        fov_deg=fov if 0.0 < fov < 360.0 else None,
        heading_deg=heading if known and math.isfinite(heading) else None,
        places=max(RANKS),
    )


def _count_kinds(photos: Sequence[KnownPhoto], goal: CalibrationGoal) -> int:
    return sum(len(g.photos) >= goal.photos for g in calibrating.group_photos(photos, goal))


def _summarise(asked: Mapping[str, Measured], condition: str) -> dict[str, Any]:
    """Shares within 25 m with intervals over spots, by model, and what adapting changed."""
    shares = {
        label: calibrating.estimate_share(m.hits[condition].near, m.spots)
        for label, m in asked.items()
    }
    first, *_, last = [*asked.values()] * 2
    found = {
        "photos": len(last.spots),
        "spots": len(np.unique(last.spots)),
        "within_25m": shares,
        "percentile": 100.0 * float(last.hits[condition].percentile.mean()),
    }
    if len(asked) == 1:
        return found
    (compared,) = correct_together([
        compare_queries(
            first.hits[condition].near, last.hits[condition].near, last.spots
        )
    ])  # fmt: skip
    return found | {"gain": {**asdict(compared), "sure": compared.sure}}
