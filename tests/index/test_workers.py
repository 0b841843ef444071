"""An index that several processes embed: the same as that of one, whoever dies on the way."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.imagery.georeferenced import geotiff
from tests.index.regions import meadow, region
from tests.toy_model import toy_model

from crossview import cli
from crossview.errors import BadIndex, CannotWrite, ModelMismatch, UnknownName, UsageError
from crossview.geo.points import LatLon
from crossview.imagery.provenance import SourceOptions
from crossview.index import units as units_module
from crossview.index.build import begin_units, build_index, open_job
from crossview.index.index_options import IndexOptions
from crossview.index.store import Embedded, Index
from crossview.index.units import SharedUnits, cut_units, read_order, remove_units
from crossview.index.workers import (
    LocalCrew,
    RayCrew,
    WorkerOptions,
    choose_crew,
    divide_threads,
    find_begun,
    work,
)

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = IndexOptions(batch=8, segment_windows=64)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, imagery with a hole in it, and the index that one process makes of them."""
    folder = tmp_path_factory.mktemp("place")
    toy_model(folder / "model")
    pixels = meadow()
    pixels[100:300, 100:350] = 0
    geotiff(folder / "aerial.tif", pixels, nodata=0)
    with job_of(folder) as job:
        build_index(job.imagery, job.embedder, folder / "alone.cvx", options=job.options)
    return folder


def job_of(place, **more):
    return open_job([place / "aerial.tif"], place / "model", OPTIONS, SourceOptions(), **more)


def begun(place, out):
    """An index that is begun, and of which nothing is embedded."""
    with job_of(place) as job:
        return begin_units(out.with_name(f"{out.name}.partial"), job)


def put_together(place, out):
    with job_of(place) as job:
        return build_index(job.imagery, job.embedder, out, options=job.options)


def files_of(index):
    """Every file that the manifest names, byte by byte."""
    names = [name for part in index.manifest.parts for name in part.files]
    return {name: (index.path / name).read_bytes() for name in names}


def worker(out, *more):
    command = [sys.executable, "-m", "crossview", "worker", str(out), "--threads", "1", *more]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_units_are_every_window_once_and_begin_small():
    units = cut_units(1000, IndexOptions(batch=2, segment_windows=128))
    assert [unit.start for unit in units[1:]] == [unit.stop for unit in units[:-1]]
    assert (units[0].start, units[-1].stop) == (0, 1000)
    assert [unit.windows for unit in units[:5]] == [16, 32, 64, 128, 128]
    assert cut_units(0, OPTIONS) == ()


def test_a_unit_without_data_becomes_no_segment(place):
    index = Index.open(place / "alone.cvx")
    sizes = [segment.windows for segment in index.manifest.segments]
    assert sum(sizes) == index.count < 374
    assert [s.name for s in index.manifest.segments] == [
        f"segment-{k:05d}" for k in range(len(sizes))
    ]


def test_two_workers_make_the_index_of_one_and_wait_for_it_to_be_begun(place, tmp_path):
    out = tmp_path / "shared.cvx"
    both = [worker(out, "--wait", "90"), worker(out, "--wait", "90")]
    time.sleep(0.2)
    begun(place, out)
    said = [process.communicate()[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    done = [int(text.partition("are done; ")[2].split()[0]) for text in said]
    assert sum(done) == 374  # of all planned windows, each was embedded by one
    assert files_of(put_together(place, out)) == files_of(Index.open(place / "alone.cvx"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shared.cvx"]


def test_workers_of_this_machine_share_the_work(place, tmp_path):
    with job_of(place, threads=1) as job:
        index = build_index(
            job.imagery, job.embedder, tmp_path / "city.cvx", options=job.options,
            crew=LocalCrew(2, threads=1),
        )  # fmt: skip
    assert files_of(index) == files_of(Index.open(place / "alone.cvx"))
    assert [divide_threads(*pair) for pair in ((0, 1), (6, 2), (1, 4))] == [0, 3, 1]


SLOW = """
import sys, time
from crossview import model
from crossview.cli import main
aerial = model.Model.aerial
def slow(self, images):
    print("embedding", flush=True)
    time.sleep(float(sys.argv[1]))
    return aerial(self, images)
model.Model.aerial = slow
sys.exit(main(["worker", *sys.argv[2:]]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills by signal")
def test_workers_that_are_killed_cost_their_unit_only(place, tmp_path):
    """Kill one worker after the other, at moments of no choice; the last one ends the work."""
    out = tmp_path / "shared.cvx"
    units = begun(place, out)
    for turn in range(2):
        command = [sys.executable, "-c", SLOW, "0.02", str(out), "--threads", "1", "--quiet"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        for _ in range(1 + 9 * turn):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        units.look()
        was = units.count_done()
    assert was > 0
    assert any(path.suffix == ".lease" for path in units.folder.iterdir())  # of the dead
    begin = time.monotonic()
    assert work(out) <= 374 - was  # nothing that was finished is done again
    assert time.monotonic() - begin < units_module.LEASE_S / 3  # a dead neighbour is not waited for
    assert not any(path.suffix == ".lease" for path in units.folder.iterdir())
    assert files_of(put_together(place, out)) == files_of(Index.open(place / "alone.cvx"))


def two(place, tmp_path):
    """The same units as two workers of different machines see them."""
    first = begun(place, tmp_path / "shared.cvx")
    return first, SharedUnits(first.folder.parent, first.order)


def made(count=3):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(count, 8)).astype(np.float32)
    return Embedded(vectors, np.zeros((count, 3)), [b"jpeg"] * count, "0" * 64)


def test_a_unit_is_one_workers_until_it_is_finished(place, tmp_path):
    one, other = two(place, tmp_path)
    with one.keep_claims(), other.keep_claims():
        taken = {one.claim().number, other.claim().number}
        assert len(taken) == 2
        while (unit := one.claim()) is not None:
            taken.add(unit.number)
        assert taken == set(range(len(one.order.units)))
        assert other.claim() is None
        assert one.finish(one.order.units[0], made())
    assert SharedUnits(one.folder.parent, one.order).count_done() == one.order.units[0].windows
    other.look()
    assert other.claim().number != 0  # what was let go of is free again, what is done is not


def test_the_second_worker_begins_far_from_the_first_and_nobody_reads_twice(place, tmp_path):
    one, other = two(place, tmp_path)
    assert [one.claim().number for _ in range(2)] == [0, 1]
    assert [other.claim().number for _ in range(2)] == [4, 5]


def test_what_was_finished_between_looking_and_leasing_is_not_done_again(place, tmp_path):
    one, other = two(place, tmp_path)
    assert one.finish(one.claim(), made())
    other._done.clear()  # it has not seen that
    assert other.claim().number == 1


def test_of_two_that_embed_the_same_unit_the_second_is_thrown_away(place, tmp_path):
    one, other = two(place, tmp_path)
    unit = one.claim()
    assert other.finish(unit, made(4))  # it had taken over the lease
    assert not one.finish(unit, made(3))
    assert one._read_record(unit.number).windows == 4
    assert not [path for path in one.folder.iterdir() if path.name.startswith(".")]


def elsewhere(monkeypatch):
    """What leases say of machines tells nothing, as between two machines."""
    monkeypatch.setattr(units_module, "_name_machine", lambda: "")


def test_a_lease_that_nobody_touches_is_taken_over_whatever_the_clocks_say(
    place, tmp_path, monkeypatch
):
    elsewhere(monkeypatch)
    one, other = two(place, tmp_path)
    while one.claim() is not None:  # all of them, and then it dies
        pass
    lease = next(iter(one._held.values()))
    os.utime(lease, (4e9, 4e9))  # its clock is decades ahead
    assert other.claim() is None
    monkeypatch.setattr(units_module, "LEASE_S", 0.05)
    time.sleep(0.1)
    os.utime(lease)  # the first one lives: it has moved again
    taken = set()
    while (unit := other.claim()) is not None:
        taken.add(unit.number)
    assert taken == set(range(1, len(one.order.units)))


def test_of_two_that_take_over_a_lease_one_gets_it(place, tmp_path, monkeypatch):
    elsewhere(monkeypatch)
    monkeypatch.setattr(units_module, "LEASE_S", 0.0)
    dead, one = two(place, tmp_path)
    other = SharedUnits(dead.folder.parent, dead.order)
    dead.claim()
    lease = dead._locate(0, ".lease")
    assert not one._take_over(0)
    assert not other._take_over(0)  # both have seen it now
    assert one._take_over(0)
    assert one._lease(0)
    holder = lease.read_bytes()
    other._watched[0] = (units_module._mark(lease), 0.0)
    real = units_module._mark
    marks = iter([real(lease), (0, 0)])  # it changes hands between the look and the taking
    monkeypatch.setattr(units_module, "_mark", lambda _: next(marks))
    assert not other._take_over(0)
    assert lease.read_bytes() == holder


def test_without_links_leases_are_files_that_are_made_once(place, tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    one, other = two(place, tmp_path)
    assert one._lease(3)
    assert not other._lease(3)


def test_a_worker_of_another_model_version_or_imagery_is_refused(place, tmp_path, monkeypatch):
    out = tmp_path / "shared.cvx"
    units = begun(place, out)
    toy_model(tmp_path / "other", azimuth_bins=8)
    with pytest.raises(ModelMismatch, match=r"was begun with the model .*\n.*--model"):
        work(out, WorkerOptions(model=tmp_path / "other"))
    region(tmp_path, "other.tif", seed=4)
    with pytest.raises(UsageError, match=r"begun with another imagery .*\n.*share the folder"):
        work(out, WorkerOptions(sources=[tmp_path / "other.tif"]))
    monkeypatch.setattr("crossview.index.workers.__version__", "9.9.9")
    with pytest.raises(UsageError, match=r"crossview .*; this worker is 9\.9\.9"):
        work(out)
    assert units.count_done() == 0


def test_a_worker_says_where_there_is_nothing_to_do(place, tmp_path):
    with pytest.raises(BadIndex, match=r"Nobody has begun .*\n.*--on elsewhere"):
        work(tmp_path / "shared.cvx")
    assert work(place / "alone.cvx") is None
    assert find_begun(place / "alone.cvx") is None


def test_who_begins_anew_is_not_disturbed_by_workers_of_before(place, tmp_path):
    units = begun(place, tmp_path / "shared.cvx")
    unit = units.claim()
    remove_units(units.folder.parent)
    with pytest.raises(CannotWrite):
        units.finish(unit, made())
    anew = begun(place, tmp_path / "shared.cvx")
    assert anew.order.id != units.order.id
    units.finish(unit, made())  # late, and of the order of before
    anew.look()
    assert anew.count_done() == 0
    assert anew.claim().number == 0


@pytest.mark.parametrize("content", ["", "{}", '{"next_window": 3}', "[1]", '{"id": "x"}'])
def test_a_damaged_order_is_told(place, tmp_path, content):
    units = begun(place, tmp_path / "shared.cvx")
    (units.folder.parent / "progress.json").write_text(content)
    with pytest.raises(BadIndex, match="--restart"):
        work(tmp_path / "shared.cvx")


@pytest.mark.parametrize("content", ["", "[]", '{"machine": 3, "pid": "x", "began": null}'])
def test_a_damaged_lease_is_somebodys_until_it_is_old(place, tmp_path, content):
    units = begun(place, tmp_path / "shared.cvx")
    units._locate(0, ".lease").write_text(content)
    assert units.claim().number > 0
    assert 0 not in units._list_free()


def test_a_damaged_record_is_told(place, tmp_path):
    units = begun(place, tmp_path / "shared.cvx")
    work(tmp_path / "shared.cvx")
    record = units._locate(2) / "unit.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "files": {}}))
    with pytest.raises(BadIndex, match=r"unit\.json is damaged .*other files"):
        put_together(place, tmp_path / "shared.cvx")


def test_what_others_put_beside_the_units_stays(tmp_path):
    (tmp_path / "x" / "units").mkdir(parents=True)
    (tmp_path / "x" / "units" / "thesis.txt").write_text("years of work")
    (tmp_path / "x" / "units" / "unit-0a1b2c3d-00001.lease").write_text("")
    remove_units(tmp_path / "x")
    assert [p.name for p in (tmp_path / "x" / "units").iterdir()] == ["thesis.txt"]


def test_engines_are_named_and_one_that_is_not_installed_is_said(place, monkeypatch, capsys):
    assert choose_crew("ray:head:6379", 1, 0) == RayCrew("head:6379", 0, 1)
    assert choose_crew("ray", 4, 2) == RayCrew("", 4, 2)
    with pytest.raises(UnknownName, match="Known: elsewhere, ray, ray:ADDRESS"):
        choose_crew("spark", 1, 0)
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["index", place / "aerial.tif", "--model", place / "model", "--out", place / "c.cvx"]
    assert cli.main([str(word) for word in [*words, "--on", "ray"]]) == 1
    assert "crossview[cluster]" in capsys.readouterr().err
    assert not (place / "c.cvx.partial").exists()


def test_where_no_ray_cluster_answers_that_is_said_at_once():
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(ConnectionRefusedError):
            RayCrew(address, 1, 1)._require_answer()
    RayCrew("auto", 1, 1)._require_answer()
    RayCrew("", 1, 1)._require_answer()


def test_an_order_survives_being_written_with_all_that_it_may_say(place, tmp_path):
    """A circle and ways of reading among it: a worker opens the same windows of the same pixels."""
    options = replace(OPTIONS, near=LatLon(52.5195, 13.3955), within_m=90.0, stride_m=12.5)
    source_options = SourceOptions(stretch=(2.0, 98.0), bands=(3, 2, 1), nodata=(0.0,))
    with open_job([place / "aerial.tif"], place / "model", options, source_options) as job:
        near = Index.open(place / "alone.cvx")
        middle = LatLon(float(near.lat.mean()), float(near.lon.mean()))
        moved = replace(job, tiling=replace(job.tiling, near=middle))
        units = begin_units(tmp_path / "c.cvx.partial", moved)
        begin_units(tmp_path / "c.cvx.partial", moved)  # the same command goes on
    order = read_order(tmp_path / "c.cvx.partial")
    assert order == units.order
    assert order.tiling.near == middle
    assert 0 < work(tmp_path / "c.cvx") < 374
