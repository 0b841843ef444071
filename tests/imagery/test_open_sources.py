"""The shipped table of open imagery: whole, licensed, parsed, and on the page as it is."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from crossview.cli import main
from crossview.errors import UnknownName
from crossview.imagery import addresses
from crossview.imagery.addresses import (
    ALLOWED_LICENCES,
    NOT_OPENED,
    OpenSource,
    choose_open_sources,
    find_open_source,
    is_open_source,
    list_open_sources,
)

PAGE = Path(__file__).parents[2] / "docs" / "imagery.md"
BY_NAME = pytest.mark.parametrize("source", list_open_sources(), ids=lambda one: one.name)
_FORBIDDEN = re.compile(r"\b(NC|ND|non-?commercial|no derivatives|OpenStreetMap only)\b", re.I)


def describe(source: OpenSource) -> str:
    """The row of the page."""
    fine = f"{source.resolution_m:g}" if source.resolution_m else "not known"
    token = f"`{source.token}`" if source.token else "none"
    return (
        f"| `{source.name}` | {source.title} | [{source.licence}]({source.licence_url}) | "
        f"{source.attribution} | {fine} | {source.date} | {token} |"
    )


@BY_NAME
def test_every_licence_is_one_that_allows_this_use_with_a_link(source: OpenSource) -> None:
    assert source.licence in ALLOWED_LICENCES
    assert urlsplit(source.licence_url).scheme == "https"
    assert not _FORBIDDEN.search(source.licence)
    assert source.attribution


@BY_NAME
def test_every_address_is_read_without_a_network_and_carries_its_terms(source: OpenSource) -> None:
    address = source.address
    assert urlsplit(address.url).scheme == "https"
    assert address.terms.known
    assert address.terms.licence == source.licence
    assert address.terms.attribution == source.attribution
    assert ("{env:" in source.written) == bool(source.token)
    assert f"{{env:{source.token}}}" in source.written or not source.token


@BY_NAME
def test_every_row_says_when_and_from_where_it_was_taken_and_how_checked(
    source: OpenSource,
) -> None:
    assert re.fullmatch(r"[a-z]{2}-[a-z0-9-]+", source.name)
    assert source.name.startswith(source.country.lower())
    assert date.fromisoformat(source.read_on).year >= 2026
    assert source.read_from
    assert len(source.checked) > 40


def test_names_are_no_addresses_and_no_paths() -> None:
    for source in list_open_sources():
        assert not addresses.is_address(source.name)
        assert is_open_source(source.name)
        assert find_open_source(source.name) is source
    assert not is_open_source("city.tif")


def test_a_name_that_nobody_knows_gets_the_nearest_suggested() -> None:
    with pytest.raises(UnknownName, match="ch-swissimage"):
        find_open_source("ch-swisimage")


def test_rows_are_ordered_by_country_and_chosen_by_it() -> None:
    countries = [source.country for source in list_open_sources()]
    assert countries == sorted(countries)
    assert len(set(countries)) >= 8
    assert {source.country for source in choose_open_sources(["nl", "CH"])} == {"NL", "CH"}
    with pytest.raises(UnknownName, match="Known: AT"):
        choose_open_sources(["XX"])


def test_the_page_lists_the_table_as_it_is() -> None:
    rows = [
        line for line in PAGE.read_text("utf-8").splitlines() if re.match(r"\| `[a-z]{2}-", line)
    ]
    assert rows == [describe(source) for source in list_open_sources()]


def test_the_verb_prints_every_row_and_that_nothing_was_opened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["imagery", "list"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for source in list_open_sources():
        for fact in (source.name, source.licence, source.licence_url, source.attribution,
                     source.written, source.read_on, source.checked):  # fmt: skip
            assert " ".join(fact.split()) in printed
    assert NOT_OPENED in printed


def test_the_verb_prints_json_of_a_country(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["imagery", "list", "--country", "ch", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["sources"]] == ["ch-swissimage"]
    assert found["note"] == NOT_OPENED
    assert main(["imagery", "list", "--country", "nowhere"]) == 2
