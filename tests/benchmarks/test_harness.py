"""The benchmarks' own rules: turns, one JSON line, names."""

import importlib
import json

import pytest

from benchmarks import harness, run


def test_candidates_take_turns_and_the_first_place_rotates():
    order = []
    candidates = {name: lambda n=name: order.append(n) for name in "abc"}
    timings = harness.interleaved(candidates, rounds=3, warm_up=0)
    assert "".join(order) == "abcbcacab"
    assert {len(t.wall_s) for t in timings.values()} == {3}


def test_warm_up_rounds_are_not_counted():
    calls = []
    timings = harness.interleaved({"ours": lambda: calls.append(1)}, rounds=2, warm_up=3)
    assert (len(calls), len(timings["ours"].cpu_s)) == (5, 2)


def test_twice_the_seconds_of_the_peer_is_a_ratio_of_a_half():
    assert harness.ratio(ours=[2.0, 4.0, 2.0], peer=[1.0, 2.0, 9.0]) == 0.5


def test_a_report_ends_in_one_json_line(capsys):
    timings = harness.Timings(wall_s=[1.0, 3.0, 2.0], cpu_s=[4.0, 4.0, 4.0])
    harness.report(name="x", ratios={"vs_peer": 1.5}, n=3, threads=2, medians={"ours": timings})
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "name": "x",
        "ratios": {"vs_peer": 1.5},
        "n": 3,
        "threads": 2,
        "medians": {"ours": {"wall_s": 2.0, "cpu_s": 4.0}},
    }


def test_a_ratio_names_its_peer():
    with pytest.raises(ValueError, match="vs_PEER"):
        harness.report(name="x", ratios={"fast": 2.0}, n=1, threads=1, medians={})


def test_an_unknown_benchmark_is_refused_with_the_names_that_exist(capsys):
    assert run.main(["indx"]) == 2
    assert "Known:" in capsys.readouterr().err


def test_every_benchmark_says_in_its_first_line_what_it_compares():
    assert all(run.benchmarks().values()), run.benchmarks()


@pytest.mark.parametrize("name", run.benchmarks())
def test_every_benchmark_finds_what_it_measures(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").main)
