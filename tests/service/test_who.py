"""Who may ask: keys, rates, names of the server, other sites; and what is logged."""

import json
import logging
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.service.conftest import jpeg, photos

from crossview import __version__
from crossview.errors import BadData, InvalidValue
from crossview.service.keys import RateLimit, create_key, find_owner, hash_key, read_keys
from crossview.service.problems import Refusal

KEYS = {"alice": hash_key("open sesame")}


def test_a_key_is_shown_once_and_kept_as_a_hash(tmp_path):
    path = tmp_path / "keys.json"
    first, second = create_key(path, "alice"), create_key(path, "bob")
    assert first not in path.read_text()
    keys = read_keys(path)
    assert (find_owner(keys, first), find_owner(keys, second), find_owner(keys, "x")) == (
        "alice",
        "bob",
        None,
    )


def test_a_name_is_taken_once(tmp_path):
    create_key(tmp_path / "keys.json", "alice")
    with pytest.raises(InvalidValue, match="already"):
        create_key(tmp_path / "keys.json", "alice")


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": "short"}', "not json"])
def test_a_file_that_holds_no_keys_is_refused(tmp_path, text):
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(BadData):
        read_keys(tmp_path / "keys.json")


@pytest.mark.parametrize("path", ["/v1/regions", "/metrics", "/v1/jobs/x"])
def test_without_the_key_nothing_is_told(served, path):
    client = served(keys=KEYS)
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get(path, headers={"Authorization": "Bearer open sesame"}).status_code != 401
    assert client.get(path, headers={"X-API-Key": "open sesame"}).status_code != 401


def test_health_and_the_page_need_no_key(served):
    client = served(keys=KEYS)
    assert [client.get(p).status_code for p in ("/v1/health", "/v1/ready", "/")] == [200] * 3


def test_the_openapi_document_names_the_keys_of_a_server_that_wants_them(served):
    document = served(keys=KEYS).get("/v1/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    kinds = {(s["type"], s.get("scheme"), s.get("name")) for s in schemes.values()}
    assert kinds == {("http", "bearer", None), ("apiKey", None, "X-API-Key")}
    asked = {path: "security" in next(iter(o.values())) for path, o in document["paths"].items()}
    assert asked.pop("/v1/health") is asked.pop("/v1/ready") is False
    assert asked
    assert all(asked.values())
    assert "securitySchemes" not in str(served().get("/v1/openapi.json").json())


def test_a_batch_is_its_owner_s_only(served):
    client = served(keys={**KEYS, "bob": hash_key("bobs")})
    alice, bob = ({"X-API-Key": key} for key in ("open sesame", "bobs"))
    job = client.post("/v1/jobs", files=photos(jpeg()), headers=alice).json()["job"]
    assert client.get(f"/v1/jobs/{job}", headers=bob).status_code == 404
    assert client.get(f"/v1/jobs/{job}", headers=alice).status_code == 200


def test_a_rate_is_a_bucket_that_refills():
    now = [0.0]
    rates = RateLimit(60, clock=lambda: now[0])
    rates.take("alice", 60)
    with pytest.raises(Refusal) as refused:
        rates.take("alice", 10)
    assert refused.value.retry_after_s == pytest.approx(11)
    rates.take("bob", 60)
    now[0] = 10.0
    rates.take("alice", 10)


def test_beyond_the_rate_a_request_is_told_when_to_come_back(served):
    client = served(photos_per_minute=2)
    assert client.post("/v1/locate", files=photos(jpeg(), jpeg())).status_code == 200
    found = client.post("/v1/locate", files=photos(jpeg()))
    assert (found.status_code, found.json()["code"]) == (429, "rate")
    assert int(found.headers["Retry-After"]) > 20


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
    found = client.post("/v1/locate", files=photos(jpeg()), headers={"Origin": origin})
    assert found.status_code == status


def test_no_other_site_may_read_unless_named(served):
    asked = {"Origin": "https://friend.example"}
    assert "access-control-allow-origin" not in served().get("/v1/regions", headers=asked).headers
    allowed = served(origins=("https://friend.example",)).get("/v1/regions", headers=asked)
    assert allowed.headers["access-control-allow-origin"] == "https://friend.example"


def test_every_answer_is_dressed(client):
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
    told = caplog.text + client.get("/metrics").text
    for secret in ("me.jpg", "12.251847", "60.504918", "secret"):
        assert secret not in told
    assert "POST /v1/locate 200" in caplog.text


def test_counters_of_photos_requests_batches_and_the_process_reach_prometheus(client):
    client.post("/v1/locate", files=photos(jpeg(), b"bad"))
    metrics = client.get("/metrics")
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text)
        for sample in family.samples
    }
    assert values["crossview_info", __version__] == 1
    assert values["crossview_photos_total", "located", "region"] == 1
    assert values["crossview_photos_total", "refused", "region"] == 1
    assert values["crossview_requests_total", "POST", "/v1/locate", "200"] == 1
    assert values["crossview_request_seconds_bucket", "60.0", "/v1/locate"] == 1
    assert values["crossview_request_seconds_count", "/v1/locate"] == 1
    assert values["crossview_batch_seconds_count",] == 1
    assert values["crossview_batch_photos_total",] == 1
    gauges = ("crossview_waiting_photos", "crossview_held_bytes", "crossview_running_jobs")
    assert [values[name,] for name in gauges] == [0, 0, 0]
    if sys.platform == "linux":
        assert values["process_resident_memory_bytes",] > 0


def test_two_applications_in_one_process_count_apart(served):
    first, second = served(), served()
    first.get("/v1/health")
    line = 'crossview_requests_total{method="GET",route="/v1/health",status="200"}'
    assert line in first.get("/metrics").text
    assert line not in second.get("/metrics").text


def test_a_fault_is_told_as_a_fixed_sentence(client, monkeypatch):
    def broken(_region):
        raise RuntimeError("the password is 1234")

    monkeypatch.setattr("crossview.service.region_routes.build_region", broken)
    found = client.get("/v1/regions")
    assert found.status_code == 500
    assert "1234" not in found.text
    assert json.loads(found.text)["code"] == "fault"
