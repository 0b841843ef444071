"""Gathering street photos of an area from an open service: listed, chosen, fetched, and named.

A folder holds one gathering. ``gathering.json`` says of what and what was listed, ``photos`` holds
the pictures, ``gone.jsonl`` those that could not be had. Each is whole or absent, so a command that
was killed goes on: no picture is asked for twice. At the end ``photos.csv`` and
``photos/ATTRIBUTION.md`` say what every picture is, who took it, and under which licence.

Nothing is undone that a service did to protect people: pictures are kept as they are given, with
their faces and plates blurred, and only those that it shows to everybody.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import numpy as np

from crossview.errors import (
    AccessRefused,
    BadAnswer,
    BadData,
    DownloadFailed,
    EmptyRegion,
    InvalidValue,
    NotOnServer,
    ServiceDown,
    UnknownName,
    UsageError,
    require,
)
from crossview.files import (
    append_lines,
    atomic_write,
    make_folder,
    printable,
    read_lines,
    require_room,
    sweep,
)
from crossview.geo.perimeters import Perimeter
from crossview.locks import lock
from crossview.schema import Sentence, check, read_bytes, read_object
from crossview.street import kartaview, mapillary, panoramax
from crossview.street.street_photos import (
    DroppedPhoto,
    SelectionOptions,
    StreetPhoto,
    select_photos,
)

if TYPE_CHECKING:
    from crossview.downloads import Downloads

RECORD_NAME, GONE_NAME, LIST_NAME = "gathering.json", "gone.jsonl", "photos.csv"
PHOTOS_NAME = "photos"
ATTRIBUTION_NAME = "photos/ATTRIBUTION.md"  # beside the pictures, wherever they go
FORMAT = 1
MOST_KM2 = 1000.0  # of an area: a large city; a country is hundreds of times as large
MOST_FOUND = 2_000_000  # photos of an area
MOST_PICTURE_BYTES = 40_000_000
WORKERS = 4  # pictures that are fetched at the same time; a service's own pace bounds them
LEAST_PX = 64

_RECORD_BYTES = 2_000_000_000
_SPARE_BYTES = 200_000_000
_MOST_ROUNDS = 50  # of choosing anew what steps in for pictures that are gone
_TOKEN_BYTES = 4096
_TOKEN = re.compile(r"[\x21-\x7e]{8,4000}")
_JPEG = b"\xff\xd8\xff"

FOLDER_KIND = "folder"  # of --street: photos of one's own, beside services

Judgement = Literal["open", "forbidding", "unknown"]


@dataclass(frozen=True, kw_only=True)
class StreetService:
    """A service of street photos: its page, its pace, and what a picture of it takes."""

    name: str
    title: str
    list_photos: Callable[..., Iterator[StreetPhoto]]
    locate_picture: Callable[..., tuple[str, dict[str, str]]]
    address: str
    token_name: str  # of the variable of the environment
    needs_token: bool = False
    picture_bytes: float = 450_000.0  # about, 2048 pixels wide
    requests_per_picture: int = 1
    requests_per_s: float = 10.0
    terms_url: str = ""

    @property
    def host(self) -> str:
        """The host that is asked."""
        return urlsplit(self.address).hostname or ""


SERVICES: dict[str, StreetService] = {
    "panoramax": StreetService(
        name="panoramax",
        title="Panoramax",
        list_photos=panoramax.list_photos,
        locate_picture=panoramax.locate_picture,
        address=panoramax.ADDRESS,
        token_name="PANORAMAX_TOKEN",  # noqa: S106 - names of variables
        terms_url="https://docs.panoramax.fr/federated-catalog/",
    ),
    "mapillary": StreetService(
        name="mapillary",
        title="Mapillary",
        list_photos=mapillary.list_photos,
        locate_picture=mapillary.locate_picture,
        address=mapillary.ADDRESS,
        token_name=mapillary.TOKEN_NAME,
        needs_token=True,
        requests_per_picture=2,
        terms_url="https://www.mapillary.com/terms",
    ),
    "kartaview": StreetService(
        name="kartaview",
        title="KartaView",
        list_photos=kartaview.list_photos,
        locate_picture=kartaview.locate_picture,
        address=kartaview.ADDRESS,
        token_name="KARTAVIEW_TOKEN",  # noqa: S106
        requests_per_s=2.0,
        terms_url="https://kartaview.org/terms",
    ),
}


def parse_street(text: str) -> StreetService:
    """What ``--street`` says: ``panoramax``, ``panoramax:URL``, ``mapillary``, ``kartaview``.

    Raises :class:`UnknownName` and :class:`InvalidValue`.
    """
    name, colon, rest = text.strip().partition(":")
    if name.lower() not in SERVICES:
        raise UnknownName("service of street photos", name[:60], known=SERVICES)
    service = SERVICES[name.lower()]
    if not colon:
        return service
    parts = urlsplit(rest.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise InvalidValue(
            f"The address of a server is written {service.name}:https://HOST, without a user and a "
            "password."
        )
    address = rest.strip().rstrip("/")
    if service.name == "panoramax":
        address = panoramax.complete_address(address)
    return replace(service, address=address)


def read_token(service: StreetService, file: Path | None = None) -> str | None:
    """The token of a service: from a file, or from its variable of the environment; None: neither.

    No message ever holds it. Raises :class:`UsageError` where one is needed and none is there, and
    where it would be sent over a network in the open.
    """
    if file is not None:
        try:
            text = read_bytes(file, _TOKEN_BYTES).decode("utf-8").strip()
        except (OSError, ValueError):
            raise UsageError(
                "--token-file names no file that can be read, of 4 kB at most. Write the token "
                "into a file and give the file's name: what is typed, others can see."
            ) from None
        where = "The file of --token-file"
    else:
        text = os.environ.get(service.token_name, "").strip()
        where = f"The variable {service.token_name}"
    if not text:
        if service.needs_token or file is not None:
            raise UsageError(
                f"{service.title} answers only with a token. Put it into the variable "
                f"{service.token_name} of the environment, or into a file that --token-file names."
            )
        return None
    if not _TOKEN.fullmatch(text):
        raise UsageError(f"{where} holds no token: one line of signs without spaces is one.")
    parts = urlsplit(service.address)
    if parts.scheme != "https" and parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
        raise UsageError(
            f"A token is sent to an address of https only, and {parts.hostname} is none."
        )
    return text


@dataclass(frozen=True)
class ServiceAccess:
    """A service, what asks it, and the token that it wants."""

    service: StreetService
    downloads: Downloads
    token: str | None = None

    def list_photos(self, area: Perimeter) -> Iterator[StreetPhoto]:
        """All photos in an area and around it. Raises :class:`DownloadFailed`."""
        address = self.service.address
        return self.service.list_photos(area, self.downloads, self.token, address=address)

    def locate_picture(self, photo: StreetPhoto) -> tuple[str, dict[str, str]]:
        """Where a picture is now, and the headers to send."""
        address = self.service.address
        return self.service.locate_picture(photo, self.downloads, self.token, address=address)


@contextmanager
def open_service(service: StreetService, token: str | None) -> Iterator[ServiceAccess]:
    """A service that is asked at its own pace, and whose token is in no message."""
    from crossview.downloads import Downloads, Politeness

    pace = {"": Politeness(), service.host: Politeness(requests_per_s=service.requests_per_s)}
    with Downloads(politeness=pace, secrets=[token] if token else []) as downloads:
        yield ServiceAccess(service, downloads, token)


# Licences.

_OPEN_LICENCES = {
    "CC0": "CC0-1.0", "CC0-1.0": "CC0-1.0", "PDDL-1.0": "PDDL-1.0",
    "PUBLIC-DOMAIN": "public domain", "PDM-1.0": "public domain",
    "ETALAB-2.0": "etalab-2.0", "LICENCE-OUVERTE-2.0": "etalab-2.0", "LO-2.0": "etalab-2.0",
    "ODBL-1.0": "ODbL-1.0", "DL-DE-BY-2.0": "dl-de/by-2.0", "DL-DE-ZERO-2.0": "dl-de/zero-2.0",
    "OGL-UK-3.0": "OGL-UK-3.0",
}  # fmt: skip
_OPEN_CC = re.compile(r"CC-BY(-SA)?(-[1-4]\.[0-9])?")
_FORBIDDING = re.compile(r"-(NC|ND)\b|PROPRIETARY|ALL-RIGHTS-RESERVED|COPYRIGHT")


def judge_licence(licence: str) -> Judgement:
    """Whether a licence lets everybody use, change and share a picture, by its usual short name.

    What is not known by name is unknown, whatever it may allow.
    """
    name = re.sub(r"[\s_/]+", "-", licence.strip().upper())
    if _FORBIDDING.search(name):
        return "forbidding"
    return "open" if name in _OPEN_LICENCES or _OPEN_CC.fullmatch(name) else "unknown"


def explain_licence(photo: StreetPhoto, accepted: Sequence[str]) -> str:
    """Why a photo must be left out for its licence; "" if it need not."""
    judged = judge_licence(photo.licence)
    if judged == "open" or photo.licence.casefold() in {one.casefold() for one in accepted}:
        return ""
    name = photo.licence or "none stated"
    if judged == "forbidding":
        return f"its licence forbids uses that this may be ({name})"
    return f"its licence is not known to allow this ({name})"


# Listing.


@dataclass(frozen=True, kw_only=True)
class GatherOptions:
    """What is gathered: ``selection`` says which photos, ``accepted_licences`` which names else."""

    selection: SelectionOptions = field(default_factory=SelectionOptions)
    accepted_licences: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a service listed of an area, and when."""

    service: Sentence
    address: Sentence
    area: dict[str, Any]  # GeoJSON
    listed: datetime
    photos: tuple[StreetPhoto, ...]
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(self)
        values["listed"] = self.listed.isoformat()
        for photo in values["photos"]:
            photo["captured"] = photo["captured"] and photo["captured"].isoformat()
        return values


@dataclass(frozen=True, kw_only=True)
class GatherPlan:
    """What would be gathered: photos found in the area, chosen, and left out with reasons."""

    area_km2: float
    found: int
    chosen: tuple[StreetPhoto, ...]
    left_out: tuple[DroppedPhoto, ...]
    fetched: int  # of the chosen
    bytes: float  # about, of those that are still to be fetched
    seconds: float

    @property
    def licences(self) -> dict[str, int]:
        """How many of the chosen have each licence."""
        return dict(Counter(photo.licence or "none stated" for photo in self.chosen).most_common())

    @property
    def reasons(self) -> dict[str, int]:
        """How many were left out by each rule."""
        return dict(Counter(one.rule for one in self.left_out).most_common())

    @property
    def headings(self) -> int:
        """How many of the chosen have a heading that can be trusted."""
        return sum(photo.heading_deg is not None for photo in self.chosen)


def require_gatherable(area: Perimeter) -> float:
    """The area's square kilometres; :class:`InvalidValue` for a country."""
    size = area.measure_km2()
    if size > MOST_KM2:
        raise InvalidValue(
            f"The area has {size:,.0f} km2, and street photos are gathered of {MOST_KM2:,.0f} km2 "
            "at most: a large city.\nGive a smaller --bbox, or gather several areas one by one."
        )
    return size


def list_area(
    area: Perimeter,
    access: ServiceAccess,
    progress: Callable[[int], None] = lambda found: None,
) -> Listing:
    """All photos that a service has inside of an area. Raises :class:`DownloadFailed`.

    :class:`EmptyRegion` if it has none.
    """
    found: list[StreetPhoto] = []
    for photo in access.list_photos(area):
        found.append(photo)
        progress(len(found))
        if len(found) > MOST_FOUND:
            raise InvalidValue(
                f"More than {MOST_FOUND:,} photos lie in the area. Give a smaller one."
            )
    if found:
        lat = np.array([photo.place.lat for photo in found])
        lon = np.array([photo.place.lon for photo in found])
        inside = area.contains(lat, lon)
        found = [photo for photo, is_inside in zip(found, inside, strict=True) if is_inside]
    if not found:
        raise EmptyRegion(
            f"{access.service.title} has no photos in this area of {area.measure_km2():.3g} km2.\n"
            "Try another service or a larger area, or go on without street photos: crossview adapt "
            "needs imagery alone."
        )
    return Listing(
        service=access.service.name,
        address=access.service.address,
        area=area.to_geojson(),
        listed=datetime.now(UTC).replace(microsecond=0),
        photos=tuple(sorted(found, key=lambda photo: photo.id)),
    )


def plan_gathering(
    listing: Listing,
    service: StreetService,
    options: GatherOptions,
    *,
    area_km2: float,
    gone: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> GatherPlan:
    """Which photos of a listing are to be fetched; those in ``gone`` (by key) cannot be."""
    left: list[DroppedPhoto] = []
    usable: list[StreetPhoto] = []
    for photo in listing.photos:
        if photo.key in (gone or {}):
            left.append(
                DroppedPhoto(photo=photo.key, rule="no picture", why=(gone or {})[photo.key])
            )
        elif why := explain_licence(photo, options.accepted_licences):
            left.append(DroppedPhoto(photo=photo.key, rule="licence", why=why))
        else:
            usable.append(photo)
    selection = select_photos(usable, options.selection)
    have = sum(
        folder is not None and locate_file(folder, photo).is_file() for photo in selection.kept
    )
    wanted = len(selection.kept) - have
    # A picture takes as long as its requests are apart, or as its bytes at 20 Mbit a second.
    each_s = max(
        service.requests_per_picture / service.requests_per_s, service.picture_bytes / 2.5e6
    )
    return GatherPlan(
        area_km2=area_km2,
        found=len(listing.photos),
        chosen=selection.kept,
        left_out=(*left, *selection.left_out),
        fetched=have,
        bytes=wanted * service.picture_bytes,
        seconds=wanted * each_s,
    )


def plan_area(
    area: Perimeter,
    access: ServiceAccess,
    out: Path,
    options: GatherOptions,
    *,
    progress: Callable[[int], None] = lambda found: None,
) -> GatherPlan:
    """What :func:`gather_photos` would do in the folder ``out``, which is not written to.

    The service is asked for its photos unless they were listed there already.
    """
    size_km2 = require_gatherable(area)
    _require_own(out)
    listing = read_listing(out)
    if listing is None:
        listing = list_area(area, access, progress)
    else:
        _require_same(listing, area, access.service, out)
    return plan_gathering(
        listing, access.service, options, area_km2=size_km2, gone=read_gone(out), folder=out
    )


# The folder.


def locate_file(folder: Path, photo: StreetPhoto) -> Path:
    """Where a photo's picture lies in the folder of a gathering."""
    return folder / PHOTOS_NAME / f"{photo.key}.jpg"


def read_listing(folder: Path) -> Listing | None:
    """What was listed for a folder; None if nothing was yet. :class:`BadData` for anything else."""
    path = folder / RECORD_NAME
    if not path.exists():
        return None
    try:
        values = read_object(path) if path.stat().st_size < 1 << 20 else _read_large(path)
        require(values.get("format") == FORMAT, f"its format is {values.get('format')!r}")
        return check(Listing, values)
    except (OSError, ValueError) as problem:
        raise BadData(
            f"{path} cannot be read: {str(problem)[:200]}.\n"
            "Remove the file to have the area listed again; pictures that are there are kept."
        ) from problem


def _read_large(path: Path) -> dict[str, Any]:
    from crossview.schema import parse_object

    return parse_object(read_bytes(path, _RECORD_BYTES))


def read_gone(folder: Path) -> dict[str, str]:
    """Pictures that could not be had, and never will: why, by the keys of their photos."""
    try:
        entries, _ = read_lines(folder / GONE_NAME)
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise BadData(f"{folder / GONE_NAME} cannot be read: {problem.strerror}.") from problem
    return {str(entry.get("photo")): str(entry.get("why", ""))[:300] for entry in entries}


def _require_own(folder: Path) -> None:
    """Stop before files of something else are mixed with a gathering."""
    if not folder.is_dir() or (folder / RECORD_NAME).exists():
        return
    ours = {PHOTOS_NAME, GONE_NAME, LIST_NAME}
    others = [path.name for path in folder.iterdir() if path.name[:1] != "."]
    if strange := sorted(set(others) - ours):
        raise UsageError(
            f"{folder} holds {strange[0]!r}, which is no part of a gathering. Choose a new folder."
        )


def _require_same(listing: Listing, area: Perimeter, service: StreetService, folder: Path) -> None:
    asked = (service.name, service.address, area.to_geojson())
    if (listing.service, listing.address, _round(listing.area)) != (*asked[:2], _round(asked[2])):
        raise UsageError(
            f"{folder} holds photos of another area or service ({listing.service}). Choose another "
            "folder, or remove that one."
        )


def _round(geometry: Any) -> Any:
    """GeoJSON as it comes back from a file: lists for tuples, places to a centimetre."""
    if isinstance(geometry, Mapping):
        return {name: _round(value) for name, value in geometry.items()}
    if isinstance(geometry, list | tuple):
        return [_round(value) for value in geometry]
    return round(geometry, 7) if isinstance(geometry, int | float) else geometry


# Fetching.


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """What was gathered: photos with their files, those left out, and what it cost."""

    photos: tuple[StreetPhoto, ...]
    plan: GatherPlan
    requests: int
    bytes: int
    later: int = 0  # pictures whose host did not answer: run again to fetch them

    @property
    def headings(self) -> int:
        """How many have a heading that can be trusted."""
        return sum(photo.heading_deg is not None for photo in self.photos)


def gather_photos(
    area: Perimeter,
    access: ServiceAccess,
    out: Path,
    options: GatherOptions,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    note: Callable[[str], None] = lambda text: None,
) -> Gathering:
    """Fill the folder ``out`` with the photos of an area, or go on where that stopped.

    Raises :class:`DownloadFailed` where the service ends it (what was fetched is kept),
    :class:`EmptyRegion` where it has no photo there, and :class:`CannotWrite`.
    """
    size_km2, service = require_gatherable(area), access.service
    _require_own(out)
    with lock(out, "crossview gather", make_parents=True):
        make_folder(out)
        sweep(out)
        make_folder(out / PHOTOS_NAME)
        sweep(out / PHOTOS_NAME)
        listing = read_listing(out)
        if listing is None:
            listing = list_area(area, access)
            atomic_write(out / RECORD_NAME, _encode(listing.to_json()))
        else:
            _require_same(listing, area, service, out)
            note(f"The area was listed on {listing.listed:%Y-%m-%d}: {len(listing.photos)} photos.")
        fetcher = _Fetcher(out, access)
        for _ in range(_MOST_ROUNDS):
            plan = plan_gathering(
                listing, service, options, area_km2=size_km2, gone=read_gone(out), folder=out
            )
            room = plan.bytes + _SPARE_BYTES
            require_room(out, room, "The pictures take", "Take fewer (--most), or another disk.")
            if not fetcher.fetch(plan.chosen, progress):
                break
        photos = tuple(
            replace(photo, file=locate_file(out, photo), url=None)
            for photo in plan.chosen
            if locate_file(out, photo).is_file()
        )
        later = len(plan.chosen) - len(photos)
        if not photos:
            fetcher.explain_nothing(plan)
        atomic_write(out / ATTRIBUTION_NAME, format_attribution(photos, service))
        atomic_write(out / LIST_NAME, format_list(photos, out))
    return Gathering(
        photos=photos,
        plan=plan,
        requests=access.downloads.requests,
        bytes=access.downloads.bytes,
        later=later,
    )


def _encode(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=None, separators=(",", ":")) + "\n"


class _Fetcher:
    """Fetches pictures; keeps in mind which are gone and which hosts do not answer."""

    def __init__(self, out: Path, access: ServiceAccess) -> None:
        self._out, self._access = out, access
        self._down: dict[str, DownloadFailed] = {}  # by host
        self._lock = threading.Lock()

    def fetch(self, photos: Sequence[StreetPhoto], progress: Callable[[int, int], None]) -> int:
        """Fetch what is not there; how many turned out to be gone, so that others may step in."""
        missing = [photo for photo in photos if not locate_file(self._out, photo).is_file()]
        done = len(photos) - len(missing)
        gone = 0
        progress(done, len(photos))
        pool = ThreadPoolExecutor(WORKERS)
        try:
            for is_gone in pool.map(self._fetch_or_record, missing):
                gone += is_gone
                done += 1
                progress(done, len(photos))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return gone

    def explain_nothing(self, plan: GatherPlan) -> None:
        """Raise why no picture at all is there."""
        for problem in self._down.values():
            raise problem
        reasons = ", ".join(f"{count} {rule}" for rule, count in plan.reasons.items())
        licences = [one.why for one in plan.left_out if one.rule == "licence"]
        more = f"\n{licences[0].capitalize()}: see --accept-photo-licence." if licences else ""
        raise EmptyRegion(f"None of {plan.found} photos can be used. Left out: {reasons}.{more}")

    def _fetch_or_record(self, photo: StreetPhoto) -> bool:
        """True for a picture that is gone for good; what ends everything is raised."""
        try:
            self._fetch_one(photo)
        except (NotOnServer, BadAnswer) as problem:
            why = str(problem).partition("\n")[0]
        except _RefusedPicture as problem:
            why = str(problem).partition("\n")[0]
        else:
            return False
        with self._lock:
            append_lines(self._out / GONE_NAME, [{"photo": photo.key, "why": why}], durable=True)
        return True

    def _fetch_one(self, photo: StreetPhoto) -> None:
        """One picture, from an address that is asked for right before, as it may expire."""
        into = locate_file(self._out, photo)
        for attempt in (1, 2):
            url, headers = self._access.locate_picture(photo)
            host = urlsplit(url).netloc
            if host in self._down:
                return
            try:
                self._access.downloads.fetch(
                    url,
                    into,
                    headers=headers,
                    most_bytes=MOST_PICTURE_BYTES,
                    check=require_picture,
                )
                return
            except AccessRefused as problem:  # of the picture: its address has expired
                if attempt == 2 or self._access.service.requests_per_picture == 1:
                    raise _RefusedPicture(str(problem)) from problem
            except ServiceDown as problem:
                self._down[host] = problem
                if host == urlsplit(self._access.service.address).netloc:
                    raise
                return


class _RefusedPicture(Exception):
    """A host refuses one picture, and not the service."""


def require_picture(content: bytes) -> None:
    """:class:`BadAnswer` unless ``content`` begins as a JPEG of at least 64 x 64 pixels."""
    from PIL import Image

    width = height = 0
    if content.startswith(_JPEG):
        try:
            with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
                width, height = image.size
        except Exception:  # damaged files make Pillow raise all kinds of errors
            width = height = 0
    if min(width, height) < LEAST_PX:
        raise BadAnswer("What the service gave is no picture that can be used.")


# What is said of the pictures.


def format_attribution(photos: Sequence[StreetPhoto], service: StreetService) -> str:
    """Markdown that names every picture's author, licence and page."""
    lines = [
        f"# Street photos from {service.title}",
        "",
        "Whoever passes on a picture, or something in which one can be seen, has to name its "
        "author and its licence as listed here, and say what was changed. Pictures show streets "
        "with people in them: their blur stays. The service's own terms: "
        f"<{service.terms_url}>.",
        "",
        "| picture | by | licence | page |",
        "|---|---|---|---|",
    ]
    for photo in photos:
        licence = _escape(photo.licence or "none stated")
        if photo.licence_url:
            licence = f"[{licence}]({_escape_address(photo.licence_url)})"
        page = f"<{_escape_address(photo.page_url)}>" if photo.page_url else ""
        lines.append(
            f"| `{photo.key}` | {_escape(photo.attribution or 'not named')} | {licence} | {page} |"
        )
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    """A text of strangers that stays a text in a cell of Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>()#|!&])", r"\\\1", " ".join(printable(text).split()))


def _escape_address(url: str) -> str:
    return re.sub(r"[\s<>()|\\`\"]", lambda sign: f"%{ord(sign[0]):02X}", printable(url))


LIST_COLUMNS = (
    "file", "lat", "lon", "heading_deg", "fov_deg", "captured", "position_sigma_m", "sequence",
    "service", "licence", "licence_url", "attribution", "page_url", "notes",
)  # fmt: skip


def format_list(photos: Sequence[StreetPhoto], folder: Path) -> str:
    """A CSV of the photos, with files as seen from ``folder``."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(LIST_COLUMNS)
    for photo in photos:
        file = "" if photo.file is None else photo.file.relative_to(folder).as_posix()
        numbers = [
            "" if value is None else f"{value:.6g}" for value in (photo.heading_deg, photo.fov_deg)
        ]
        sigma = "" if photo.position_sigma_m is None else f"{photo.position_sigma_m:.6g}"
        texts = (photo.licence, photo.licence_url, photo.attribution, photo.page_url)
        rows.writerow([
            file, f"{photo.place.lat:.8f}", f"{photo.place.lon:.8f}", *numbers,
            "" if photo.captured is None else photo.captured.isoformat(), sigma,
            photo.sequence or "", photo.service, *(printable(text) for text in texts),
            printable("; ".join(photo.notes)),
        ])  # fmt: skip
    return stream.getvalue()
