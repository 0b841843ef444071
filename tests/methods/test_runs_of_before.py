"""Runs from before studies had variants of their own open with the same network and views.

``runs_of_before.json`` holds the settings of such runs as their config.json has them, what their
views were, and the digest of the names and shapes of their tensors.
"""

import json
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from crossview.catalogue import METHODS, VARIANTS, configure, open_run, renew_settings
from crossview.errors import InvalidValue, UnknownName
from crossview.pairs.table import restore_views
from crossview.training.run_folder import RunFolder

RUNS = json.loads(Path(__file__).with_name("runs_of_before.json").read_text(encoding="utf-8"))


def run_named(name):
    return next(run for run in RUNS if run["run"] == name)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run["run"])
def test_a_run_opens_with_the_views_and_the_network_that_it_had(run, tmp_path):
    record = {"method": run["method"], "config": run["config"], "data": "town", "framing": {}}
    (tmp_path / "config.json").write_text(json.dumps(record))
    opened = open_run(tmp_path)
    assert opened.page.__name__ == f"crossview.{run['page']}"
    views = opened.views
    assert views == restore_views(opened.page.views(opened.config), {})
    plain = [json.loads(json.dumps(spec.facts())) for spec in (views.ground, views.aerial)]
    assert plain == [run["ground"], run["aerial"]]
    assert views.headings_seen == run["headings_seen"]
    assert list(views.fov_seen_deg) == run["fov_seen_deg"]
    with torch.device("meta"):
        network = opened.page.build(replace(opened.config, weights="none"))
    shapes = sorted((name, list(value.shape)) for name, value in network.state_dict().items())
    assert sha256(json.dumps(shapes).encode()).hexdigest()[:16] == run["network"]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run["run"])
def test_a_training_of_before_goes_on_with_the_same_settings(run, tmp_path):
    record = {"method": run["method"], "config": run["config"]}
    config = configure(run["method"], run["config"])[1]
    folder = RunFolder(tmp_path / "run")
    folder.begin(record, {})
    folder.state.touch()
    now = {"method": run["method"], "config": asdict(config)}

    def renew(settings):
        return renew_settings(run["method"], settings)

    assert folder.begin(now, {}, renew=renew)
    other = {**now, "config": {**now["config"], "lr": 0.5}}
    with pytest.raises(InvalidValue, match="lr: .* there, 0.5 now"):
        folder.begin(other, {}, renew=renew)


def test_settings_that_studies_took_to_their_variants_are_dropped_at_their_defaults():
    for method in VARIANTS:
        ref, config = configure(method, run_named(f"{method}, default")["config"])
        assert ref.module == METHODS[method]
        assert config == ref.load().Config()


def test_settings_beyond_the_papers_choose_the_variant_on_a_command_line_too():
    ref, config = configure("sample4geo", {"shifted": "true", "theta_deg": "[90, 90]"})
    assert ref.module == VARIANTS["sample4geo"]
    assert (config.shifted, config.theta_deg) == (True, (90.0, 90.0))
    ref, config = configure("congeo", {"course": "fixed", "theta_deg": "[360, 70]"})
    assert (ref.module, config.theta_deg) == (METHODS["congeo"], 70.0)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"architecture": "resnet"}, InvalidValue, "no architecture 'resnet'"),
        ({"course": "zigzag"}, InvalidValue, "no course 'zigzag'"),
        ({"polar": True, "shiftet": True}, UnknownName, "shiftet"),
        ({"turn": 2.0}, InvalidValue, "turn is a probability"),
    ],
)
def test_settings_and_values_that_no_page_has_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        configure("sample4geo", settings)
