"""Long batches: progress, results, cancelling, forgetting."""

import asyncio
import json
from concurrent.futures import Future

import pytest
from tests.service.conftest import jpeg, photos

from crossview.service.jobs import BatchJobs, follow_events
from crossview.service.problems import Refusal


def read_events(client, job, **headers):
    """(number, kind, facts) of the events of a finished job."""
    text = client.get(f"/v1/jobs/{job}/events", headers=headers).text
    response = []
    for block in filter(None, text.split("\n\n")):
        lines = dict(line.partition(": ")[::2] for line in block.splitlines())
        response.append((lines.get("id"), lines["event"], json.loads(lines["data"])))
    return response


def test_a_batch_tells_of_every_photo_and_then_ends(client):
    started = client.post("/v1/jobs?places=2", files=photos(jpeg(1), b"bad", jpeg(2)))
    assert started.status_code == 202
    response = read_events(client, started.json()["job"])
    assert started.headers["location"] == f"/v1/jobs/{started.json()['job']}"
    assert sorted(kind for _, kind, _ in response) == ["answer", "answer", "end", "problem"]
    assert response[-1][2] == {"state": "done", "done": 3, "photos": 3}
    assert [number for number, _, _ in response] == ["1", "2", "3", None]
    assert {f["photo"] for _, kind, f in response if kind == "answer"} == {"0.jpg", "2.jpg"}


def test_a_listener_goes_on_after_the_last_event_it_got(client):
    job = client.post("/v1/jobs", files=photos(jpeg(1), jpeg(2), jpeg(3))).json()["job"]
    everything = read_events(client, job)
    assert read_events(client, job, **{"Last-Event-ID": "2"}) == everything[2:]


def test_the_results_stay_for_a_while(client):
    job = client.post("/v1/jobs", files=photos(jpeg(1), jpeg(2))).json()["job"]
    read_events(client, job)
    state = client.get(f"/v1/jobs/{job}").json()
    assert (state["state"], state["done"], len(state["answers"])) == ("done", 2, 2)


def test_a_batch_can_be_cancelled(client):
    job = client.post("/v1/jobs", files=photos(*[jpeg(n) for n in range(150)])).json()["job"]
    client.delete(f"/v1/jobs/{job}")
    assert read_events(client, job)[-1][1] == "end"
    state = client.get(f"/v1/jobs/{job}").json()
    assert state["state"] == "cancelled"
    assert state["done"] < 150


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_batch_is_not_found(client, method):
    assert client.request(method, "/v1/jobs/unknown").status_code == 404


def test_finished_batches_are_forgotten_and_make_room():
    now = [0.0]

    async def run():
        jobs = BatchJobs(2, keep_s=10, clock=lambda: now[0])
        for _ in range(2):
            result = Future()
            result.set_result({"photo": "a"})
            job = jobs.start("town", "", ["a"], [result])
        await jobs.wait()
        with pytest.raises(Refusal):
            jobs.require_room()
        now[0] = 11.0
        jobs.require_room()
        with pytest.raises(Refusal):
            jobs.get(job.id, "")

    asyncio.run(run())


def test_a_listener_hears_what_happens_while_it_listens():
    async def run():
        jobs, results = BatchJobs(2, keep_s=10), [Future(), Future()]
        job = jobs.start("town", "", ["a", "b"], results)
        kinds = []

        async def listen():
            async for _, kind, _ in follow_events(job, 0):
                kinds.append(kind)

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0.01)
        results[1].set_result({})
        await asyncio.sleep(0.05)
        assert kinds == ["answer"]
        results[0].set_exception(ValueError("secret"))
        await listening
        assert kinds == ["answer", "problem", "end"]
        assert "secret" not in str(job.events)

    asyncio.run(run())
