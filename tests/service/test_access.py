"""HTTP rules (HEAD, Allow, Host, hang-ups), keys, other sites, headers, and the log."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import time
from urllib.parse import urlsplit

import pytest
from tests.service.conftest import jpeg, photos
from tests.service.running import running

from crossview.service.access import hash_key
from crossview.service.server import list_routes

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
    response = [
        one for one in list_routes(client.app) if "GET" in (getattr(one, "methods", ()) or ())
    ]
    assert len(response) >= 15
    untried = [
        one.path for one in response if not any(one.path_regex.match(path) for path in PATHS)
    ]
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
def test_other_methods_are_answered_with_those_there_are(client, method, path, allowed):
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


def read_all(line):
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
    text = read_all(line)
    assert text.startswith("HTTP/1.1 400")
    assert "connection: close" in text.lower()
    assert "alive" not in text, "the request that hid in the other's body"


@pytest.mark.parametrize(("head", "status"), [
    ("GET /v1/ready HTTP/1.0\r\n", 200),  # load balancers check a server so
    ("GET /v1/ready HTTP/1.0\r\nHost: localhost\r\n", 200),
    ("GET /v1/ready HTTP/1.0\r\nHost: evil.example\r\n", 421),
    ("GET /v1/ready HTTP/1.1\r\n", 400),
    ("GET /v1/ready HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", 400),
])  # fmt: skip
def test_only_http_1_0_may_omit_the_host_and_none_may_send_two(slow, head, status):
    line = raw(slow, f"{head}Connection: close\r\n\r\n")
    assert read_all(line).split(" ")[1] == str(status)


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
def test_a_client_that_leaves_is_counted_as_499_and_not_as_an_error(folder, when):
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


@pytest.mark.parametrize("query", ["fov=90&fov=80", "places=1&fov=90&places=1"])
def test_a_parameter_that_is_given_twice_is_refused(client, query):
    answer = client.post(f"/v1/locate?{query}", files=photos(jpeg()))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-value")
    assert "is in the address twice" in answer.json()["detail"]


KEYS = {"alice": hash_key("open sesame")}


@pytest.mark.parametrize("path", ["/v1/regions", "/metrics", "/v1/jobs/x"])
def test_without_its_key_a_request_gets_no_answer(served, path):
    client = served(keys=KEYS)
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get(path, headers={"Authorization": "Bearer open sesame"}).status_code != 401
    assert client.get(path, headers={"X-API-Key": "open sesame"}).status_code != 401


def test_health_and_the_page_need_no_key(served):
    client = served(keys=KEYS)
    assert [client.get(p).status_code for p in ("/v1/health", "/v1/ready", "/")] == [200] * 3


def test_the_openapi_document_names_the_keys_of_a_server_that_needs_them(served):
    document = served(keys=KEYS).get("/v1/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    kinds = {(s["type"], s.get("scheme"), s.get("name")) for s in schemes.values()}
    assert kinds == {("http", "bearer", None), ("apiKey", None, "X-API-Key")}
    requested = {
        path: "security" in next(iter(o.values())) for path, o in document["paths"].items()
    }
    assert requested.pop("/v1/health") is requested.pop("/v1/ready") is False
    assert requested
    assert all(requested.values())
    assert "securitySchemes" not in str(served().get("/v1/openapi.json").json())


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8765", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("photos.example", 200),
        ("evil.example", 421), ("localhost.evil.example", 421), ("", 421),
    ],
)  # fmt: skip
def test_the_server_answers_to_its_own_names_only(served, host, status):
    client = served(hosts=("photos.example",))
    assert client.get("/v1/health", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://testserver", 200), ("https://friend.example", 200), ("https://evil.example", 403),
        ("null", 403), ("http://testserver.evil.example", 403),
    ],
)  # fmt: skip
def test_other_sites_may_not_send_photos(served, origin, status):
    client = served(origins=("https://friend.example",))
    response = client.post("/v1/locate", files=photos(jpeg()), headers={"Origin": origin})
    assert response.status_code == status


def test_no_other_site_may_read_unless_named(served):
    requested = {"Origin": "https://friend.example"}
    assert (
        "access-control-allow-origin" not in served().get("/v1/regions", headers=requested).headers
    )
    allowed = served(origins=("https://friend.example",)).get("/v1/regions", headers=requested)
    assert allowed.headers["access-control-allow-origin"] == "https://friend.example"


def test_every_answer_has_the_security_headers(client):
    for path in ("/", "/v1/regions", "/nowhere", "/v1/health"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_the_log_and_the_metrics_hold_nothing_of_a_request(client, caplog):
    with caplog.at_level(logging.INFO, logger="crossview.service"):
        client.post(
            "/v1/locate?near=-12.251847,60.504918&within=9000", files=photos(("me.jpg", jpeg()))
        )
        client.get("/v1/regions/secret-name")
        client.get("/secret-path")
    record = caplog.text + client.get("/metrics").text
    for secret in ("me.jpg", "12.251847", "60.504918", "secret"):
        assert secret not in record
    assert "POST /v1/locate 200" in caplog.text


def test_an_unexpected_failure_is_answered_with_a_fixed_sentence(client, monkeypatch):
    def broken(_region):
        raise RuntimeError("the password is 1234")

    monkeypatch.setattr("crossview.service.routes.build_region", broken)
    response = client.get("/v1/regions")
    assert response.status_code == 500
    assert "1234" not in response.text
    assert json.loads(response.text)["code"] == "fault"
