"""HTTP as its standard has it (HEAD, Allow, hang-ups, lengths), and answers as their schema."""

from __future__ import annotations

import http.client
import logging
import socket
import time
from urllib.parse import urlsplit

import pytest
from fastapi.routing import APIRoute
from tests.service.conftest import jpeg, photos
from tests.service.running import running

from crossview import cli
from crossview.localization.hints import Hints
from crossview.service import locate_routes, region_routes
from crossview.service.app import list_routes
from crossview.service.schemas import WrongAnswer, require_type

PATHS = [
    "/", "/assets/main.js", "/favicon.ico", "/metrics", "/v1/health", "/v1/ready",
    "/v1/openapi.json",
    "/v1/regions", "/v1/regions/region", "/v1/regions/region/coverage", "/v1/regions/region/cells",
    "/v1/regions/region/windows/0", "/v1/regions/region/tiles/0/0/0", "/v1/regions/none",
    "/v1/regions/region/windows/999999", "/v1/jobs/none", "/v1/jobs/none/events", "/nowhere",
    "/assets/none.js", "/v1/regions/region/tiles/x/0/0",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_head_is_answered_as_get_without_the_body(client, path):
    got, head = (client.request(m, path, follow_redirects=False) for m in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (got.status_code, b"")
    if path != "/metrics":  # which counts requests, so that its length grows
        assert head.headers == got.headers


def test_head_of_a_stream_ends_at_once_and_is_counted_as_head(client):
    job = client.post("/v1/jobs", files=photos(jpeg())).json()["job"]
    head = client.head(f"/v1/jobs/{job}/events")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")
    assert (
        'method="HEAD",route="/v1/jobs/{job_id}/events",status="200"' in client.get("/metrics").text
    )


def test_every_get_route_is_in_these_tests(client):
    found = [one for one in list_routes(client.app) if "GET" in (getattr(one, "methods", ()) or ())]
    assert len(found) >= 15
    untried = [one.path for one in found if not any(one.path_regex.match(path) for path in PATHS)]
    assert untried == []


@pytest.mark.parametrize(("method", "path", "allowed"), [
    ("POST", "/v1/health", "GET, HEAD"),
    ("PUT", "/v1/jobs/abc", "DELETE, GET, HEAD"),
    ("GET", "/v1/locate", "POST"),
    ("HEAD", "/v1/locate", "POST"),
    ("OPTIONS", "/v1/locate", "POST"),
    ("OPTIONS", "/", "GET, HEAD"),
    ("DELETE", "/v1/jobs", "POST"),
])  # fmt: skip
def test_other_methods_are_told_which_there_are(client, method, path, allowed):
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_head_needs_a_key_where_get_does(served):
    client = served(keys={"somebody": "0" * 64})
    assert client.head("/v1/regions").status_code == 401
    assert client.head("/v1/health").status_code == 200


def raw(address, text):
    """A socket that sent ``text``."""
    where = urlsplit(address)
    line = socket.create_connection((where.hostname, where.port), timeout=20)
    line.sendall(text.encode())
    return line


def heard(line):
    """All that comes until the other side closes."""
    parts = []
    while part := line.recv(65536):
        parts.append(part)
    return b"".join(parts).decode()


@pytest.fixture(scope="module")
def slow(folder):
    with running(folder, slow_s=0.6) as (_, address):
        yield address


def test_a_body_with_two_lengths_is_refused_and_its_connection_closed(slow):
    line = raw(slow, (
        "POST /v1/locate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        "GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ))  # fmt: skip
    said = heard(line)
    assert said.startswith("HTTP/1.1 400")
    assert "connection: close" in said.lower()
    assert "alive" not in said, "the request that hid in the other's body"


@pytest.mark.parametrize(("head", "status"), [
    ("GET /v1/ready HTTP/1.0\r\n", 200),  # load balancers check a server so
    ("GET /v1/ready HTTP/1.0\r\nHost: localhost\r\n", 200),
    ("GET /v1/ready HTTP/1.0\r\nHost: evil.example\r\n", 421),
    ("GET /v1/ready HTTP/1.1\r\n", 400),
    ("GET /v1/ready HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", 400),
])  # fmt: skip
def test_only_http_1_0_may_omit_the_host_and_none_may_send_two(slow, head, status):
    line = raw(slow, f"{head}Connection: close\r\n\r\n")
    assert heard(line).split(" ")[1] == str(status)


def counted(address):
    where = urlsplit(address)
    line = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    line.request("GET", "/metrics")
    text = line.getresponse().read().decode()
    line.close()
    return text


HANG_UPS = {
    "in the middle of the upload": "Content-Length: 50000\r\n\r\nxxxx",
    "in the middle of a chunk": "Transfer-Encoding: chunked\r\n\r\nffff\r\nxx",
    "while its photo is looked at": None,
}


@pytest.mark.parametrize("when", HANG_UPS)
def test_a_client_that_leaves_is_counted_as_499_and_is_no_fault(folder, when):
    with running(folder, slow_s=0.6) as (_, address):
        body = HANG_UPS[when]
        head = "POST /v1/locate HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        if body is None:
            data = jpeg()
            line = raw(address, f"{head}Content-Length: {len(data)}\r\n\r\n")
            line.sendall(data)
            time.sleep(0.3)
        else:
            line = raw(address, head + body)
            time.sleep(0.2)
        line.close()
        end = time.monotonic() + 20
        while 'status="499"' not in (text := counted(address)) and time.monotonic() < end:
            time.sleep(0.1)
        assert 'method="POST",route="/v1/locate",status="499"} 1' in text
        assert 'status="500"' not in text


def test_a_hang_up_leaves_no_traceback(client, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "crossview.service")
    logging.getLogger("crossview.service").propagate = True
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/locate", "raw_path": b"/v1/locate",
        "query_string": b"", "headers": [(b"host", b"x"), (b"content-type", b"image/jpeg")],
        "app": client.app, "http_version": "1.1", "scheme": "http", "root_path": "",
    }  # fmt: skip
    client.portal.call(client.app, scope, receive, send)
    assert [record.exc_info for record in caplog.records if record.exc_info] == []
    assert sent == []
    assert 'status="499"' in client.get("/metrics").text


@pytest.mark.parametrize(
    "query", ["fov=5e-324&heading=-360", "fov=5e-324", "fov=1e-300", "fov=0", "fov=nan",
              "fov=inf", "fov=360.01", "heading=nan", "heading=361", "near=nan,nan&within=1",
              "near=1,2&within=nan", "near=1,2&within=0", "near=1,2&within=inf"],
)  # fmt: skip
def test_a_number_that_cannot_be_is_refused_in_words(client, query):
    answer = client.post(f"/v1/locate?{query}", files=photos(jpeg()))
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid-value"


@pytest.mark.parametrize("query", ["fov=90&fov=80", "places=1&fov=90&places=1"])
def test_what_is_asked_twice_is_not_guessed(client, query):
    answer = client.post(f"/v1/locate?{query}", files=photos(jpeg()))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-value")
    assert "is in the address twice" in answer.json()["detail"]


def test_a_boundary_that_is_longer_than_any_may_be_is_refused_in_words(client):
    kind = {"Content-Type": f"multipart/form-data; boundary={'x' * 300}"}
    answer = client.post("/v1/locate", content=jpeg(), headers=kind)
    assert (answer.status_code, answer.json()["code"]) == (415, "wrong-type")


def test_the_api_takes_the_fields_of_view_that_the_command_line_takes(client):
    schema = client.get("/v1/openapi.json").json()["paths"]["/v1/locate"]["post"]["parameters"]
    fov = next(one["schema"] for one in schema if one["name"] == "fov")
    limits = next(one for one in fov["anyOf"] if one["type"] == "number")
    for value in (limits["minimum"], limits["maximum"]):
        assert Hints(fov_deg=value).fov_deg == value


def wrong(record):
    """The record with a field that no schema has, wherever it holds one."""
    return {**record, "surprise": 1}


BROKEN = {
    "build_region": (region_routes, "GET", "/v1/regions/region"),
    "build_coverage": (region_routes, "GET", "/v1/regions/region/coverage"),
    "build_cells": (region_routes, "GET", "/v1/regions/region/cells"),
    "build_answer": (locate_routes, "POST", "/v1/locate"),
    "build_scores": (locate_routes, "POST", "/v1/heat"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_is_not_as_its_schema_says_is_a_fault(client, monkeypatch, name):
    module, method, path = BROKEN[name]
    made = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *a, **k: wrong(made(*a, **k)))
    files = photos(jpeg()) if method == "POST" else None
    answer = client.request(method, path, files=files)
    assert (answer.status_code, answer.json()["code"]) == (500, "fault")


def test_a_batch_tells_no_answer_that_is_not_as_its_schema_says(client, monkeypatch):
    made = locate_routes.build_answer
    monkeypatch.setattr(
        locate_routes, "build_answer", lambda *a, **k: {**made(*a, **k), "kind": "map"}
    )
    job = client.post("/v1/jobs", files=photos(jpeg())).json()["job"]
    with pytest.raises(WrongAnswer, match=r"kind: literal_error"):
        client.get(f"/v1/jobs/{job}/events")
    assert client.get(f"/v1/jobs/{job}").status_code == 500


def test_every_route_that_answers_json_says_as_what(client):
    files = ("windows", "tiles", "events")
    found = [one for one in list_routes(client.app) if isinstance(one, APIRoute)]
    assert len(found) >= 15
    for route in found:
        if route.include_in_schema:
            known = route.response_model is not None or any(one in route.path for one in files)
            assert known, route.path


def test_what_is_wrong_with_an_answer_is_told_without_its_values():
    with pytest.raises(WrongAnswer) as told:
        require_type(dict[str, int], '{"secret place": "secret"}')
    assert '"secret"' not in str(told.value)
    assert "int_parsing" in str(told.value)


@pytest.mark.parametrize("option", ["--max-mb", "--max-megapixels", "--timeout", "--rate"])
@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1"])
def test_limits_of_a_server_are_numbers_above_zero(folder, capsys, option, value):
    assert cli.main(["serve", "--index", str(folder), f"{option}={value}"]) == 2
    assert f"{option} takes a number above 0" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--max-files", "--queue"])
def test_counts_of_a_server_begin_at_one(folder, capsys, option):
    assert cli.main(["serve", "--index", str(folder), f"{option}=0"]) == 2
    assert option in capsys.readouterr().err
