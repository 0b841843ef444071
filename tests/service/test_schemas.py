"""No answer is sent that does not match its schema."""

from __future__ import annotations

import pytest
from fastapi.routing import APIRoute
from tests.service.conftest import jpeg, photos

from crossview.service import routes
from crossview.service.routes import WrongAnswer, require_type
from crossview.service.server import list_routes


def wrong(record):
    """The record with a field that no schema has, wherever it holds one."""
    return {**record, "surprise": 1}


BROKEN = {
    "build_region": (routes, "GET", "/v1/regions/region"),
    "build_coverage": (routes, "GET", "/v1/regions/region/coverage"),
    "build_cells": (routes, "GET", "/v1/regions/region/cells"),
    "build_answer": (routes, "POST", "/v1/locate"),
    "build_scores": (routes, "POST", "/v1/heat"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_does_not_match_its_schema_is_an_error_of_the_server(
    client, monkeypatch, name
):
    module, method, path = BROKEN[name]
    make = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *a, **k: wrong(make(*a, **k)))
    files = photos(jpeg()) if method == "POST" else None
    answer = client.request(method, path, files=files)
    assert (answer.status_code, answer.json()["code"]) == (500, "fault")


def test_a_batch_sends_no_answer_that_does_not_match_its_schema(client, monkeypatch):
    make = routes.build_answer
    monkeypatch.setattr(routes, "build_answer", lambda *a, **k: {**make(*a, **k), "kind": "map"})
    job = client.post("/v1/jobs", files=photos(jpeg())).json()["job"]
    with pytest.raises(WrongAnswer, match=r"kind: literal_error"):
        client.get(f"/v1/jobs/{job}/events")
    assert client.get(f"/v1/jobs/{job}").status_code == 500


def test_every_route_that_answers_json_has_a_schema(client):
    files = ("windows", "tiles", "events")
    response = [one for one in list_routes(client.app) if isinstance(one, APIRoute)]
    assert len(response) >= 15
    for route in response:
        if route.include_in_schema:
            known = route.response_model is not None or any(one in route.path for one in files)
            assert known, route.path


def test_the_message_about_a_wrong_answer_holds_no_values():
    with pytest.raises(WrongAnswer) as record:
        require_type(dict[str, int], '{"secret place": "secret"}')
    assert '"secret"' not in str(record.value)
    assert "int_parsing" in str(record.value)
