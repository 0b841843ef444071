"""Place and Answer: what locating a picture gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

from crossview.arrays import F32, F64, I64
from crossview.geo.footprints import Footprint
from crossview.geo.points import LatLon
from crossview.index.selection import Held, Selection
from crossview.localization.hints import Prior


@dataclass(frozen=True, kw_only=True, repr=False)
class Place:
    """One candidate: overlapping windows merged, the best of them named by ``window``.

    ``latlon`` lies between the windows, where their scores are highest. The sigmas hold where the
    place is right: 68 of 100 places lie no farther than ``position_sigma_m`` from the truth, and
    68 of 100 headings no farther than ``heading_sigma_deg`` (docs/calibration.md).
    """

    rank: int  # from 1
    latlon: LatLon
    score: float  # cosine in [-1, 1]; comparable within one picture only
    heading_deg: float | None  # of the picture's middle, if the model finds it
    footprint: Footprint
    window: int  # row of the index
    probability: float | None = None  # of lying within 25 m; only with a calibrated index
    position_sigma_m: float | None = None  # of latlon, a distance; only with a calibrated index
    heading_sigma_deg: float | None = None  # of heading_deg, likewise
    peak_m: float | None = None  # from the summit of the scores to where they are 0.01 less
    peak_deg: float | None = None  # the same of the turns; None: there is no summit

    def __repr__(self) -> str:
        heading = "" if self.heading_deg is None else f", heading {self.heading_deg:.0f} degrees"
        return f"Place({self.rank}: {self.latlon}, score {self.score:.3f}{heading})"


@dataclass(frozen=True, kw_only=True, eq=False)
class Area:
    """The ground that holds the truth with a ``coverage`` in (0, 1), as cells of the index."""

    coverage: float
    rows: I64  # windows whose stride cells it is made of
    km2: float
    share: float  # of all cells that were searched
    lat: F64  # of the cells' middles
    lon: F64
    cell_m: float  # side of a cell
    up_bearing_deg: float  # of the cells' grid


@dataclass(frozen=True, kw_only=True, eq=False)
class Confidence:
    """What the index's calibration says of one picture."""

    elsewhere: float  # probability of having been taken outside of the region
    refused: bool  # too little evidence: not in this region
    false_reject: float  # share of the region's own pictures that are refused all the same
    areas: tuple[Area, ...]  # by coverage
    kind: str  # of pictures that was calibrated, in words
    n: int  # photos it was calibrated on
    date: str  # of the calibration
    carried_from: tuple[str, ...] = ()  # names of the regions it was measured on, if not this one


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How the best window of a claimed place compares with all that were searched."""

    rank: int  # from 1; windows of an equal score stand before it
    windows: int  # that were searched
    percentile: float  # percent of them, in [0, 100], that score lower
    score: float  # as of places
    heading_deg: float | None
    footprint: Footprint
    window: int  # row of the index
    listed: int | None  # rank of the listed place that stands for this ground
    probability: float | None = None  # of lying within 25 m of the claim; calibrated only
    areas: tuple[float, ...] | None = None  # coverages of those that hold it; calibrated only


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A place that somebody names. Standing high proves nothing, and standing low neither."""

    latlon: LatLon
    inside: bool  # whether ground of the region lies within 25 m of it
    nearest_m: float  # to the middle of the nearest window
    standing: Standing | None  # None where nothing near it was searched


@dataclass(frozen=True, kw_only=True)
class PriorShift:
    """How far a picture moved what was believed before, by the posterior over all windows.

    ``bits``: how much it added (Kullback-Leibler divergence of the posterior from the prior);
    each bit halves the ground that is left.
    """

    prior: Prior
    mean: LatLon  # of the posterior
    spread_m: float  # its standard deviation in each direction
    mean_moved_m: float  # from the prior's place
    first_moved_m: float  # the first place from the prior's
    bits: float
    holds: float  # share of the posterior in which the prior is right: near 0, they contradict
    first_share: float  # of the posterior within 25 m of the first place


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What one of several photos of one spot says of the first place that all of them have."""

    photo: str
    sha256: str
    score: float  # of the first place's window, as of places
    heading_deg: float | None  # of this photo's middle there
    bits: float  # how much likelier this photo alone makes the ground within 25 m of that place
    foreign: float  # share of the posterior in which it was not taken at this spot
    alone: LatLon | None  # the first place of this photo alone
    alone_m: float | None  # how far that is from the first place of all


@dataclass(frozen=True, kw_only=True)
class SharedSpot:
    """What several photos of one spot say together, by their posterior over all windows.

    ``turns``: how their directions hang together: "unknown", "given", or by the compass in their
    "file". No temperature is calibrated for several photos: ``first_share`` is no probability.
    """

    turns: str
    mean: LatLon  # of the posterior
    spread_m: float  # its standard deviation in each direction
    first_share: float  # of the posterior within 25 m of the first place


def number_windows(held: Held, answer: Answer) -> Answer:
    """An answer made of rows of ``held`` as one that names the windows of the whole index."""
    if not isinstance(held, Selection):
        return answer
    places = tuple(replace(p, window=int(held.numbers[p.window])) for p in answer.places)
    answer = replace(answer, places=places, held=held)
    if (confidence := answer.confidence) is not None:
        areas = tuple(replace(area, rows=held.numbers[area.rows]) for area in confidence.areas)
        answer = replace(answer, confidence=replace(confidence, areas=areas))
    if (claim := answer.claim) is not None and (standing := claim.standing) is not None:
        standing = replace(standing, window=int(held.numbers[standing.window]))
        answer = replace(answer, claim=replace(claim, standing=standing))
    return answer


@dataclass(frozen=True, kw_only=True, repr=False)
class Answer:
    """Where one picture may have been taken, and everything that was assumed.

    Several photos of one spot have one answer; ``together`` then says what each contributed.
    ``photo``, ``kind``, field of view and headings are those of the first, ``scores`` the mean of
    all.
    """

    photo: str
    sha256: str
    kind: str  # "panorama" or "perspective"
    fov_deg: float
    fov_source: str  # "panorama", "exif", "given", "assumed" or "unused"
    assumptions: tuple[str, ...]
    places: tuple[Place, ...]  # best first
    scores: F32  # [N], one per window of the index, or of ``held``, for the heat layer
    warnings: tuple[str, ...] = ()
    second: float | None = None  # score of the second place, however many are listed
    searched_places: float | None = None  # that fit side by side into what was searched
    heading_source: str | None = None  # of the heading that was relied on: "given" or a tag
    heading_wanted: bool = False  # none is known, and the model could use one
    truth: LatLon | None = None
    error_m: float | None = None  # of the first place, if the truth is known
    confidence: Confidence | None = None  # only with an index calibrated for such pictures
    claim: Claim | None = None  # where one was made
    unmeasured: str = ""  # why a calibrated index says nothing of this picture
    prior: PriorShift | None = None  # where there was one; ``scores`` are those of the picture
    together: tuple[Contribution, ...] = ()  # of several photos of one spot
    spot: SharedSpot | None = None  # where there are several
    ground_light: float | None = None  # how bright the ground is against the sky
    held: Selection | None = None  # windows that scores are of; None: all of the index

    def __repr__(self) -> str:
        first = f", first {self.places[0]!r}" if self.places else ""
        return f"Answer({self.photo!r}: {len(self.places)} places{first})"

    @property
    def directed(self) -> bool:
        """Whether the search relied on a heading from the file."""
        return self.heading_source not in {None, "given"}
