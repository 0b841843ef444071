"""API keys and the rate limit of each."""

import pytest
from tests.service.conftest import jpeg, photos

from crossview.errors import BadData, InvalidValue
from crossview.service.access import create_key, find_owner, hash_key, read_keys
from crossview.service.problems import Refusal
from crossview.service.uploads import RateLimit

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


def test_beyond_the_rate_an_answer_says_when_to_retry(served):
    client = served(photos_per_minute=2)
    assert client.post("/v1/locate", files=photos(jpeg(), jpeg())).status_code == 200
    response = client.post("/v1/locate", files=photos(jpeg()))
    assert (response.status_code, response.json()["code"]) == (429, "rate")
    assert int(response.headers["Retry-After"]) > 20
