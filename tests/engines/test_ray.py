"""Ray, the real one: an index of its tasks is that of one process, also if a node goes.

`make test-engines` installs it and runs this; CI does not.
"""

import os
import time
from contextlib import contextmanager
from threading import Thread

import pytest
from tests.imagery.georeferenced import geotiff
from tests.index.regions import meadow
from tests.toy_model import toy_model

from crossview import cli
from crossview.index import units
from crossview.index.store import Index
from crossview.index.workers import find_begun

cluster_utils = pytest.importorskip(
    "ray.cluster_utils", reason="needs the package ray: pip install -e '.[cluster]'"
)
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - else it takes minutes where others compute


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Imagery, a model, and the index that one process makes of them."""
    folder = tmp_path_factory.mktemp("place")
    toy_model(folder / "model")
    geotiff(folder / "aerial.tif", meadow(800, 1000))
    assert index(folder, "alone.cvx") == 0
    return folder


def index(place, out, *more):
    words = ["index", place / "aerial.tif", "--model", place / "model", "--out", place / out]
    return cli.main([str(word) for word in (*words, "--stride", 4, "--threads", 1, *more)])


def files_of(path):
    opened = Index.open(path)
    names = [name for part in opened.manifest.parts for name in part.files]
    return {name: (path / name).read_bytes() for name in names}


@contextmanager
def cluster(nodes):
    """A cluster of several nodes, each with a processor, all on this machine."""
    started = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        others = [started.add_node(num_cpus=1) for _ in range(nodes - 1)]
        yield started, others
    finally:
        started.shutdown()


def test_ray_of_this_machine_makes_the_index_of_one_process(place):
    assert index(place, "local.cvx", "--on", "ray", "--workers", 2) == 0
    assert files_of(place / "local.cvx") == files_of(place / "alone.cvx")


def test_a_node_that_is_lost_costs_what_it_had_in_hand(place, monkeypatch, capsys):
    monkeypatch.setattr(units, "LEASE_S", 10.0)
    lost = []

    def lose(started, node):
        """Take a node away as soon as something is finished."""
        end = time.monotonic() + 120.0
        while time.monotonic() < end and not lost:
            folder = find_begun(place / "ray.cvx")
            if folder is not None and any((folder / "units").glob("unit-*[0-9]")):
                started.remove_node(node, allow_graceful=False)
                lost.append(node)
            time.sleep(0.02)

    with cluster(3) as (started, others):
        thread = Thread(target=lose, args=(started, others[0]))
        thread.start()
        code = index(place, "ray.cvx", "--on", f"ray:{started.address}")
        thread.join()
    assert code == 0, capsys.readouterr().err
    assert lost
    assert files_of(place / "ray.cvx") == files_of(place / "alone.cvx")


def test_where_there_is_no_cluster_that_is_said(place, capsys):
    assert index(place, "none.cvx", "--on", "ray:127.0.0.1:1") == 2
    assert "there is no Ray cluster" in capsys.readouterr().err
    assert not (place / "none.cvx.partial").exists()
