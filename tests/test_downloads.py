"""One client for all servers: polite, patient within limits, and nothing kept that is not whole."""

import io
import logging
import time
from email.utils import formatdate
from itertools import count

import pytest
from tests.web_server import Answer, serving

from crossview import downloads as module
from crossview.downloads import BLOCK_BYTES, Downloads, Politeness, cache_folder
from crossview.errors import (
    AccessRefused,
    BadAnswer,
    InvalidValue,
    NotOnServer,
    ServiceBusy,
    ServiceDown,
)

QUICK = {"": Politeness(requests_per_s=1000.0, burst=100, tries=3, timeout_s=0.4)}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.01)


def in_turn(*answers):
    """The answers one after the other; the last one for ever."""
    numbers = count()
    return lambda _asked: answers[min(next(numbers), len(answers) - 1)]


def test_an_answer_is_read_with_parameters_added_to_those_of_the_address():
    with serving(in_turn(Answer(b"yes", headers={"X-Kind": "a"}))) as server, Downloads() as client:
        reply = client.read(server.address + "/a?one=1", params={"two": "b c"})
        assert reply.content == b"yes"
        assert reply.headers["x-kind"] == "a"
        assert server.asked[0].query == {"one": "1", "two": "b c"}
        assert server.asked[0].headers["user-agent"].startswith("crossview/")
        assert (client.requests, client.bytes) == (1, 3)


def test_a_file_is_fetched_once(tmp_path):
    into = tmp_path / "deep" / "file.bin"
    with serving(in_turn(Answer(b"content"))) as server, Downloads() as client:
        assert client.fetch(server.address + "/f", into)
        assert not client.fetch(server.address + "/f", into)
        assert into.read_bytes() == b"content"
        assert client.requests == len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_fails_for_the_moment_is_tried_again(status):
    answers = in_turn(Answer(status=status), Answer(status=status), Answer(b"at last"))
    with serving(answers) as server, Downloads(politeness=QUICK) as client:
        assert client.read(server.address).content == b"at last"
        assert client.requests == 3


def test_a_server_that_stays_down_is_said_to_be():
    with (
        serving(in_turn(Answer(status=500))) as server,
        Downloads(politeness=QUICK) as client,
        pytest.raises(ServiceDown, match="answers 500, 3 times"),
    ):
        client.read(server.address)


def test_nobody_there_is_a_service_that_is_down():
    with serving(in_turn(Answer())) as server:
        gone = server.address
    with Downloads(politeness=QUICK) as client, pytest.raises(ServiceDown, match="cannot be reach"):
        client.read(gone)


@pytest.mark.parametrize(
    "asked", [lambda: "1", lambda: formatdate(time.time() + 2.0, usegmt=True)], ids=["s", "date"]
)
def test_retry_after_is_waited_for(asked):
    answers = in_turn(Answer(status=429, headers={"Retry-After": asked()}), Answer(b"now"))
    with serving(answers) as server, Downloads(politeness=QUICK) as client:
        begun = time.monotonic()
        assert client.read(server.address).content == b"now"
        assert time.monotonic() - begun > 0.8


def test_a_pause_that_is_too_long_is_not_waited_for():
    answers = in_turn(Answer(status=503, headers={"Retry-After": "3600"}))
    with (
        serving(answers) as server,
        Downloads(politeness=QUICK) as client,
        pytest.raises(ServiceBusy, match="3600 s"),
    ):
        client.read(server.address)
    assert len(server.asked) == 1


def test_a_token_bucket_keeps_the_rate_of_a_host():
    slow = {"127.0.0.1": Politeness(requests_per_s=20.0, burst=2)}
    with serving(in_turn(Answer(b"x"))) as server, Downloads(politeness=slow) as client:
        begun = time.monotonic()
        for _ in range(8):
            client.read(server.address)
        assert time.monotonic() - begun >= 6 / 20.0 - 0.01


@pytest.mark.parametrize(
    ("status", "problem"),
    [(401, AccessRefused), (403, AccessRefused), (404, NotOnServer), (410, NotOnServer),
     (400, BadAnswer), (418, BadAnswer)],
)  # fmt: skip
def test_what_will_not_change_is_not_asked_again(status, problem):
    with serving(in_turn(Answer(b"<p>the reason</p>", status))) as server:
        with Downloads(politeness=QUICK) as client, pytest.raises(problem):
            client.read(server.address)
        assert len(server.asked) == 1


def test_slow_servers_are_not_waited_for_for_ever():
    late = Answer(b"late", before=lambda: time.sleep(0.7))
    hasty = {"": Politeness(tries=1, timeout_s=0.2)}
    with (
        serving(in_turn(late)) as server,
        Downloads(politeness=hasty) as client,
        pytest.raises(ServiceDown, match=r"within 0\.2 s"),
    ):
        client.read(server.address)


def test_too_much_is_refused_also_when_it_is_packed(tmp_path):
    import gzip

    packed = Answer(gzip.compress(bytes(5_000_000)), headers={"Content-Encoding": "gzip"})
    for answer in (Answer(bytes(2000)), packed):
        with (
            serving(in_turn(answer)) as server,
            Downloads() as client,
            pytest.raises(BadAnswer, match="more than 1,000 bytes"),
        ):
            client.fetch(server.address, tmp_path / "f", most_bytes=1000)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_cut_short_is_not_kept(tmp_path):
    with (
        serving(in_turn(Answer(b"half", claimed_bytes=8))) as server,
        Downloads(politeness=QUICK) as client,
        pytest.raises(ServiceDown),
    ):
        client.fetch(server.address, tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_what_the_check_refuses_is_not_kept(tmp_path):
    def check(content):
        raise BadAnswer(f"no picture: {content!r}")

    with (
        serving(in_turn(Answer(b"nonsense"))) as server,
        Downloads() as client,
        pytest.raises(BadAnswer, match="no picture"),
    ):
        client.fetch(server.address, tmp_path / "f", check=check)
    assert list(tmp_path.iterdir()) == []


def test_a_redirection_carries_no_token_to_another_host():
    with serving(in_turn(Answer(b"other"))) as other:
        away = Answer(status=302, headers={"Location": other.address + "/there"})
        with serving(in_turn(away)) as server, Downloads(headers={"Authorization": "t"}) as client:
            reply = client.read(server.address, headers={"X-Key": "k"})
            assert reply.content == b"other"
            assert reply.url == other.address + "/there"
            assert server.asked[0].headers["authorization"] == "t"
        assert {"authorization", "x-key"}.isdisjoint(other.asked[0].headers)


@pytest.mark.parametrize("to", ["file:///etc/passwd", "/again"])
def test_a_redirection_goes_nowhere_else_and_not_round(to):
    with (
        serving(in_turn(Answer(status=301, headers={"Location": to}))) as server,
        Downloads() as client,
        pytest.raises(BadAnswer),
    ):
        client.read(server.address + "/again")


@pytest.mark.parametrize(
    "url", ["ftp://h/a", "https://", "file:///etc/passwd", "x", "http://a:b:c"]
)
def test_only_addresses_of_the_web_are_asked(url):
    with Downloads() as client, pytest.raises(InvalidValue):
        client.read(url)


def test_secrets_are_said_nowhere(caplog):
    caplog.set_level(logging.DEBUG)
    token = "geheim+/1"
    with (
        serving(in_turn(Answer(status=500), Answer(b"no geheim+/1 here", status=400))) as server,
        Downloads(politeness=QUICK, secrets=[token]) as client,
        pytest.raises(BadAnswer) as problem,
    ):
        client.read(server.address, params={"token": token})
    assert server.asked[0].query["token"] == token
    said = str(problem.value) + caplog.text
    assert "geheim" not in said


def ranged(content, etag='"v1"'):
    def answer(asked):
        first, _, last = asked.headers["range"].removeprefix("bytes=").partition("-")
        first, last = int(first), min(int(last), len(content) - 1)
        said = {"Content-Range": f"bytes {first}-{last}/{len(content)}", "ETag": etag}
        return Answer(content[first : last + 1], 206, said)

    return answer


def test_a_large_file_is_read_by_ranges_and_never_twice(tmp_path):
    content = bytes(range(256)) * (5 * BLOCK_BYTES // 256) + b"the end"
    with serving(ranged(content)) as server, Downloads() as client:
        file = client.open_ranges(server.address + "/f.tif", tmp_path)
        assert file.read(4) == content[:4]
        file.seek(-7, io.SEEK_END)
        assert file.read() == b"the end"
        file.seek(2 * BLOCK_BYTES - 10)
        assert file.read(20) == content[2 * BLOCK_BYTES - 10 : 2 * BLOCK_BYTES + 10]
        spent = client.requests
        again = client.open_ranges(server.address + "/f.tif", tmp_path)
        again.seek(2 * BLOCK_BYTES)
        assert again.read(5) == content[2 * BLOCK_BYTES : 2 * BLOCK_BYTES + 5]
        assert client.requests == spent
        file.seek(0)
        assert file.read() == content


def test_a_file_that_changes_on_the_server_is_not_mixed(tmp_path):
    content = bytes(3 * BLOCK_BYTES)
    with serving(ranged(content)) as server, Downloads() as client:
        file = client.open_ranges(server.address, tmp_path)
        address = server.address
    with serving(ranged(content, '"v2"')) as server, Downloads() as client:
        (tmp_path / "facts.json").write_text(
            (tmp_path / "facts.json").read_text().replace(address, server.address)
        )
        file = client.open_ranges(server.address, tmp_path)
        file.seek(2 * BLOCK_BYTES)
        with pytest.raises(BadAnswer, match="has changed on the server"):
            file.read(1)


def test_a_server_without_ranges_is_told(tmp_path):
    for content in (b"whole", bytes(2 * BLOCK_BYTES)):
        with (
            serving(in_turn(Answer(content))) as server,
            Downloads() as client,
            pytest.raises(BadAnswer, match="whole files only"),
        ):
            client.open_ranges(server.address, tmp_path)


def test_the_cache_lies_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSVIEW_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("CROSSVIEW_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder().name == "crossview"
