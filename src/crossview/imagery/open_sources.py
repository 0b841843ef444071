"""Open orthophotos that servers give, by name: a shipped table, and what a name stands for.

``open_sources.toml`` says of each source its licence, whose it is, how fine and how old it is, its
address, and when and from where the row was taken. Only sources are in it whose licence allows
machine use and derived works.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Any

from crossview.errors import UnknownName
from crossview.imagery.addresses import Address, Terms, parse_address
from crossview.schema import NotNegative, Positive, Sentence, check

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
