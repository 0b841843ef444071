"""Addresses of imagery on servers, as people write them, and names that stand for some.

They are read and told apart; nothing is fetched.

``https://host/{z}/{x}/{y}.jpg``, capabilities of WMTS and WMS, a COG, a STAC item or search. What
follows ``#`` says what to take of a service: ``#LAYER``, or ``#layer=L&style=S&zooms=0-19``.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from crossview.errors import InvalidValue, UnknownName
from crossview.schema import NotNegative, Positive, Sentence, check

DEEPEST_ZOOM = 24
_SCHEME = re.compile(r"(?:(xyz|tms|wmts|wms|cog|stac)\s*[:+]\s*)?(https?://.+)", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_ENVIRONMENT = re.compile(r"\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_TILE_WORDS = {"z", "zoom", "x", "y", "-y", "q", "s"}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_COG_ENDINGS = (".tif", ".tiff", ".cog")
_STAC_PATHS = re.compile(r"/(search|items|collections)(/|$)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What may be done with imagery, and whose it is; empty where nobody knows.

    ``known``: the licence was read and allows this use, as of sources of the shipped table. Any
    other has to be accepted by who uses it.
    """

    licence: str = ""
    licence_url: str = ""
    attribution: str = ""
    date: str = ""
    known: bool = False

    @property
    def credit(self) -> str:
        """The attribution as indexes keep it and maps show it, with the licence."""
        licence = f" ({self.licence})" if self.licence else ""
        return f"{self.attribution}{licence}" if self.attribution else self.licence


@dataclass(frozen=True, kw_only=True)
class XyzAddress:
    """A template of Web Mercator tiles, ``{z}/{x}/{y}`` from the north, ``{-y}`` from the south."""

    url: str
    terms: Terms = Terms()
    zooms: tuple[int, int] = (0, DEEPEST_ZOOM)  # that the server has


@dataclass(frozen=True, kw_only=True)
class WmtsAddress:
    """Capabilities of a WMTS. Empty: the only layer, its default style, the best matrix set."""

    url: str
    terms: Terms = Terms()
    layer: str = ""
    style: str = ""
    matrix_set: str = ""
    format: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()  # such as ("time", "2023")


@dataclass(frozen=True, kw_only=True)
class WmsAddress:
    """Capabilities of a WMS. ``finest_px_m``: ground metres per pixel of what it serves, if known.

    Empty: the only layer, its default style, a reference system that it offers, JPEG.
    """

    url: str
    terms: Terms = Terms()
    layer: str = ""
    style: str = ""
    crs: str = ""
    format: str = ""
    finest_px_m: float | None = None
    dimensions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class CogAddress:
    """A Cloud Optimized GeoTIFF, read by ranges."""

    url: str
    terms: Terms = Terms()


@dataclass(frozen=True, kw_only=True)
class StacAddress:
    """A STAC item, or a search (of a catalogue's API) in ``collections``.

    ``asset``: which picture of an item; empty: the one that says it is visual.
    """

    url: str
    terms: Terms = Terms()
    collections: tuple[str, ...] = ()
    asset: str = ""
    datetime: str = ""  # an interval as STAC writes it, such as 2022-01-01/..


Address = XyzAddress | WmtsAddress | WmsAddress | CogAddress | StacAddress


def is_address(text: str) -> bool:
    """Whether ``text`` is meant as an address, right or wrong; names of sources are none."""
    return _SCHEME.fullmatch(text.strip()) is not None


def parse_address(text: str) -> Address:
    """The address that ``text`` is; :class:`InvalidValue` for what cannot be one.

    Which kind it is, its beginning says (``wms:https://...``), else its form.
    """
    found = _SCHEME.fullmatch(text.strip())
    if found is None:
        raise InvalidValue(f"{text[:200]} is no address of imagery: it begins with no https://.")
    url, _, rest = found[2].partition("#")
    said = _parse_rest(rest, text)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as problem:
        raise InvalidValue(f"{text[:200]} is no address: {problem}.") from problem
    if parts.username or parts.password:
        raise InvalidValue(
            "A user name or password does not belong into an address: it would be kept and shown.\n"
            "Write {env:NAME} where a token stands, and put it into the environment variable NAME."
        )
    secret = _ENVIRONMENT.search(url) is not None
    if secret and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise InvalidValue("A token goes to https:// only: with http:// anybody could read it.")
    kind = (found[1] or _tell_kind(url)).lower()
    return _BUILDERS[kind](url, said, text)


def fill_environment(text: str) -> tuple[str, tuple[str, ...]]:
    """``text`` with the values of environment variables for ``{env:NAME}``, and these secrets.

    Raises :class:`InvalidValue` that names the variable where it is not set.
    """
    secrets: list[str] = []

    def insert(match: re.Match[str]) -> str:
        value = os.environ.get(match[1], "").strip()
        if not value:
            raise InvalidValue(
                f"The address needs a token: set the environment variable {match[1]} to it."
            )
        secrets.append(value)
        return value

    return _ENVIRONMENT.sub(insert, text), tuple(secrets)


def fill_template(url: str, zoom: int, x: int, y: int) -> str:
    """The address of one tile of a template; ``y`` counts from the north.

    ``{s}`` is one of a, b, c, and ``{switch:A,B}`` one of those that it names, chosen by the tile's
    number so that a tile always has the same address.
    """

    def insert(match: re.Match[str]) -> str:
        word = match[1]
        if word.startswith("switch:") or word == "s":
            choices = word.removeprefix("switch:").split(",") if word != "s" else ["a", "b", "c"]
            return choices[(x + y) % len(choices)]
        if word == "q":
            return "".join(str((x >> at & 1) + 2 * (y >> at & 1)) for at in range(zoom - 1, -1, -1))
        values = {"z": zoom, "zoom": zoom, "x": x, "y": y, "-y": 2**zoom - 1 - y}
        return str(values[word]) if word in values else match[0]

    return _PLACEHOLDER.sub(insert, url)


def _tell_kind(url: str) -> str:
    """What an address is by its form."""
    parts = urlsplit(url)
    path = parts.path.lower()
    query = {key.lower(): values[0].lower() for key, values in parse_qs(parts.query).items()}
    service = query.get("service", "")
    kinds = {
        "xyz": any(not word.startswith("env:") for word in _PLACEHOLDER.findall(url)),
        "wmts": service == "wmts" or (service != "wms" and "wmts" in path),
        "wms": service == "wms" or "wms" in path or query.get("request") == "getcapabilities",
        "cog": path.endswith(_COG_ENDINGS),
        "stac": path.endswith((".json", ".geojson")) or _STAC_PATHS.search(path) is not None,
    }
    return next((kind for kind, fits in kinds.items() if fits), "unknown")


def _parse_rest(rest: str, text: str) -> dict[str, str]:
    """What follows ``#``: a layer, or names and values."""
    if "=" not in rest:
        return {"layer": rest} if rest else {}
    pairs = parse_qsl(rest, keep_blank_values=True)
    names = [name.lower() for name, _ in pairs]
    if len(set(names)) < len(names):
        raise InvalidValue(f"{text[:200]}: a name stands twice behind #.")
    return {name.lower(): value for name, value in pairs}


def _build_xyz(url: str, said: Mapping[str, str], text: str) -> XyzAddress:
    words = {word for word in _PLACEHOLDER.findall(url) if not word.startswith("env:")}
    unknown = {word for word in words - _TILE_WORDS if not re.fullmatch(r"switch:[^{}]+", word)}
    whole = "q" in words or (words & {"z", "zoom"} and "x" in words and words & {"y", "-y"})
    if unknown or not whole:
        why = f"{{{min(unknown)}}} is not known" if unknown else "it names no tile"
        raise InvalidValue(
            f"{text[:200]}: {why}.\nA template has {{z}}, {{x}} and {{y}} (rows from the north) or "
            "{-y} (from the south), or {q}; {s}, {switch:A,B} and {env:NAME} may stand, too."
        )
    if "{env:" in urlsplit(url).netloc or {"x", "y", "z"} & set(
        _PLACEHOLDER.findall(urlsplit(url).netloc)
    ):
        raise InvalidValue(f"{text[:200]}: of a server's name only {{s}} and {{switch:}} may vary.")
    _require_known(said, {"zooms"}, text)
    return XyzAddress(url=url, zooms=_parse_zooms(said.get("zooms"), text))


def _parse_zooms(text: str | None, address: str) -> tuple[int, int]:
    if not text:
        return 0, DEEPEST_ZOOM
    found = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?", text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not 0 <= first <= last <= DEEPEST_ZOOM:
        raise InvalidValue(f"{address[:200]}: write zooms as #zooms=8-19, 0 to {DEEPEST_ZOOM}.")
    return first, last


def _build_wmts(url: str, said: Mapping[str, str], text: str) -> WmtsAddress:
    names = {"layer", "style", "matrix", "format"}
    return WmtsAddress(
        url=url,
        layer=said.get("layer", ""),
        style=said.get("style", ""),
        matrix_set=said.get("matrix", ""),
        format=said.get("format", ""),
        dimensions=tuple(sorted((k, v) for k, v in said.items() if k not in names)),
    )


def _build_wms(url: str, said: Mapping[str, str], text: str) -> WmsAddress:
    names = {"layer", "style", "crs", "format", "finest"}
    try:
        finest = float(said["finest"]) if "finest" in said else None
        if finest is not None and not 0.0 < finest < 1e6:
            raise ValueError
    except ValueError:
        raise InvalidValue(f"{text[:200]}: finest is in metres per pixel, such as 0.2.") from None
    return WmsAddress(
        url=url,
        layer=said.get("layer", ""),
        style=said.get("style", ""),
        crs=said.get("crs", ""),
        format=said.get("format", ""),
        finest_px_m=finest,
        dimensions=tuple(sorted((k, v) for k, v in said.items() if k not in names)),
    )


def _build_cog(url: str, said: Mapping[str, str], text: str) -> CogAddress:
    _require_known(said, set(), text)
    return CogAddress(url=url)


def _build_stac(url: str, said: Mapping[str, str], text: str) -> StacAddress:
    if set(said) == {"layer"} and "=" not in text.partition("#")[2]:
        said = {"asset": said["layer"]}
    _require_known(said, {"collections", "asset", "datetime"}, text)
    collections = tuple(part for part in said.get("collections", "").split(",") if part)
    return StacAddress(
        url=url,
        collections=collections,
        asset=said.get("asset", ""),
        datetime=said.get("datetime", ""),
    )


def _refuse_unknown(url: str, _said: Mapping[str, str], _text: str) -> Address:
    raise InvalidValue(
        f"{url[:200]}: which kind of imagery is there?\nSay it in front: wmts:, wms:, cog: or "
        "stac:, as in wms:https://host/service#LAYER; a template of tiles has {z}/{x}/{y}."
    )


def _require_known(said: Mapping[str, str], known: set[str], text: str) -> None:
    if unknown := set(said) - known:
        may = f"may stand {', '.join(sorted(known))}" if known else "stands nothing"
        raise InvalidValue(f"{text[:200]}: behind # {may}, not {min(unknown)[:40]!r}.")


_BUILDERS: dict[str, Callable[[str, Mapping[str, str], str], Address]] = {
    "xyz": _build_xyz,
    "tms": lambda url, said, text: replace(
        _build_xyz(url, said, text), url=url.replace("{y}", "{-y}")
    ),
    "wmts": _build_wmts,
    "wms": _build_wms,
    "cog": _build_cog,
    "stac": _build_stac,
    "unknown": _refuse_unknown,
}


# Open orthophotos by name. ``open_sources.toml`` says of each source its licence, whose it is, how
# fine and how old it is, its address, and when and from where the row was taken. Only sources are
# in it whose licence allows machine use and derived works.

# Licences that allow use by machines, derived works and their publication, commercially too; what
# they ask for is that the source is named, or nothing. A row says how it was found to be under one.
ALLOWED_LICENCES = {
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC0 1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "Licence Ouverte 2.0": "https://www.etalab.gouv.fr/licence-ouverte-open-licence/",
    "dl-de/by-2-0": "https://www.govdata.de/dl-de/by-2-0",
    "dl-de/zero-2-0": "https://www.govdata.de/dl-de/zero-2-0",
    "swisstopo free geodata": "https://www.swisstopo.admin.ch/en/conditions-geodata",
    "public domain": "https://creativecommons.org/publicdomain/mark/1.0/",
}
NOT_OPENED = (
    "The addresses were not opened when this table was made: it was read elsewhere, as each row "
    "says. Licences and services change; look at the licence's page before you publish."
)


@dataclass(frozen=True, kw_only=True)
class OpenSource:
    """One row: a name that may stand wherever an address may.

    ``country``: two letters. ``resolution_m``: metres on the ground per pixel, 0 where nothing was
    read of it. ``date``: of the pictures, in words. ``token``: the environment variable that must
    hold one, "" without. ``read_on``, ``read_from``, ``checked``: when and from where the row was
    taken, and how its licence was checked.
    """

    name: str
    country: str
    title: Sentence
    licence: Sentence
    licence_url: Sentence
    attribution: Sentence
    resolution_m: NotNegative
    date: Sentence
    written: Sentence
    token: str
    requests_per_s: Positive
    read_on: str
    read_from: Sentence
    checked: Sentence

    @property
    def address(self) -> Address:
        """Where it is, with its terms, which are known."""
        terms = Terms(
            licence=self.licence,
            licence_url=self.licence_url,
            attribution=self.attribution,
            known=True,
        )
        return replace(parse_address(self.written), terms=terms)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``resolution_m`` is null where it is not known."""
        return asdict(self) | {"resolution_m": self.resolution_m or None}


@lru_cache(maxsize=1)
def list_open_sources() -> tuple[OpenSource, ...]:
    """All rows, in the order of the table: by country."""
    text = resources.files("crossview.imagery").joinpath("open_sources.toml").read_text("utf-8")
    return tuple(
        check(OpenSource, {"name": name, **facts}) for name, facts in tomllib.loads(text).items()
    )


def choose_open_sources(countries: Collection[str] = ()) -> tuple[OpenSource, ...]:
    """Rows of some countries (two letters, any case), all if none is named.

    Raises :class:`UnknownName` for a country of which the table has none.
    """
    known = list(dict.fromkeys(source.country for source in list_open_sources()))
    wanted = [country.strip().upper() for country in countries]
    for country in wanted:
        if country not in known:
            raise UnknownName("country in the table of open imagery", country, known)
    return tuple(one for one in list_open_sources() if not wanted or one.country in wanted)


def is_open_source(name: str) -> bool:
    """Whether a name stands in the table."""
    return any(source.name == name for source in list_open_sources())


def find_open_source(name: str) -> OpenSource:
    """The row of a name; :class:`UnknownName` suggests the nearest for one that nobody knows."""
    for source in list_open_sources():
        if source.name == name:
            return source
    raise UnknownName("open source of imagery", name, [one.name for one in list_open_sources()])
