"""The limits of a server, in Python, on the command line and in the documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crossview import cli
from crossview.errors import InvalidValue
from crossview.service.settings import MEGABYTE, MEGAPIXEL, OnlineMap, Settings
from crossview.views.decode import MAX_PIXELS

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_files": 600}, {"batch": 0}, {"timeout_s": 0}, {"photos_per_minute": 0},
        {"max_file_bytes": 10**10},
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(wrong):
    with pytest.raises(InvalidValue):
        Settings(**wrong)


@pytest.mark.parametrize("url", ["ftp://a/{z}/{x}/{y}", "https://a/{z}", "/tiles/{z}/{x}/{y}"])
def test_an_online_map_is_a_template_of_an_address(url):
    with pytest.raises(InvalidValue):
        OnlineMap(url=url, attribution="someone")


def test_an_online_map_is_allowed_by_the_policy_and_sent_to_the_page(served):
    online = OnlineMap(url="https://tiles.example/{z}/{x}/{y}.png", attribution="Example")
    client = served(online_map=online)
    assert "https://tiles.example" in client.get("/").headers["content-security-policy"]
    assert client.get("/v1/regions").json()["online_map"]["attribution"] == "Example"


def test_the_limits_of_a_server_are_those_of_the_documents():
    settings = Settings()
    assert settings.max_pixels == MAX_PIXELS, "as the other commands take"
    rows = (DOCUMENTS / "commands.md").read_text(encoding="utf-8")
    for option, value in {
        "max-mb": settings.max_file_bytes / MEGABYTE,
        "max-megapixels": settings.max_pixels / MEGAPIXEL,
        "max-memory-mb": settings.max_memory_bytes / MEGABYTE,
        "max-files": settings.max_files,
        "queue": settings.queue_photos,
        "timeout": settings.timeout_s,
    }.items():
        assert re.search(rf"\| `--{option} [A-Z]+` \| {value:g} \|", rows), option
    service = (DOCUMENTS / "service.md").read_text(encoding="utf-8")
    assert f"| `places` | how many, 1 to {settings.max_places}; default 10 |" in service
    assert settings.keep_job_s == 600.0
    assert "kept for ten minutes after its end" in service


@pytest.mark.parametrize(
    "option",
    [
        "--max-mb",
        "--max-megapixels",
        "--max-memory-mb",
        "--timeout",
        "--rate",
        "--grace",
        "--decode-timeout",
    ],
)
@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1"])
def test_limits_of_a_server_are_numbers_above_zero(folder, capsys, option, value):
    assert cli.main(["serve", "--index", str(folder), f"{option}={value}"]) == 2
    assert f"{option} takes a number above 0" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--max-files", "--queue"])
def test_counts_of_a_server_begin_at_one(folder, capsys, option):
    assert cli.main(["serve", "--index", str(folder), f"{option}=0"]) == 2
    assert option in capsys.readouterr().err
