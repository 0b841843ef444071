"""Counters for Prometheus."""

import sys

from prometheus_client.parser import text_string_to_metric_families
from tests.service.conftest import jpeg, photos

from crossview import __version__


def test_prometheus_reads_counters_of_photos_requests_batches_and_the_process(client):
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
