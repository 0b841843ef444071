"""Every recipe is the authors' released settings: each method's test has a table of their scripts.

What is ours is in no recipe; it is asked for by name (``--reading intent``, ``--config``).
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from tests.contract.settings import ask
from tests.methods.shared_settings import only

from crossview import catalogue
from crossview.errors import InvalidValue
from crossview.methods import congeo, sample4geo, singeo
from crossview.pairs.batch import TrainingLength, TrainingProgress
from crossview.pairs.page_ref import PageRef
from crossview.studies.study import read_studies
from crossview.training.contract import TrainingRecipe

RELEASES = {name: ask(name, "RELEASES") for name in catalogue.METHODS}


def config_of(method, recipe):
    """All settings of a recipe, with those that only its variant has."""
    settings = catalogue.recipe(method, recipe)
    config = catalogue.configure(method, settings)[1]
    variant = catalogue.VARIANTS.get(method)
    if variant is None:
        return config
    whole = catalogue.make_config(PageRef(variant).load(), settings)
    named = {name: getattr(whole, name) for name in asdict(config) if name != "theta_deg"}
    assert named == {name: getattr(config, name) for name in named}
    return whole


@pytest.mark.parametrize("method", catalogue.METHODS)
def test_every_recipe_is_in_the_table_of_its_method(method):
    assert set(catalogue.recipes(method)) == set(RELEASES[method])


def test_recipes_have_to_be_written_out_to_be_read_without_running_their_page(tmp_path):
    page = tmp_path / "mine.py"
    page.write_text("import nowhere_at_all\nRECIPES: dict = {'mine': {'sizes': (1, 2)}}\n")
    assert catalogue.recipes(str(page)) == {"mine": {"sizes": (1, 2)}}
    page.write_text("BASE = {}\nRECIPES = {'mine': BASE | {'lr': 1.0}}\n")
    with pytest.raises(InvalidValue, match="RECIPES of .*mine.py cannot be read without running"):
        catalogue.recipes(str(page))


@pytest.mark.parametrize(
    ("method", "recipe"), [(m, r) for m, recipes in RELEASES.items() for r in recipes]
)
def test_a_recipe_is_the_authors_release(method, recipe):
    config, release = config_of(method, recipe), RELEASES[method][recipe]
    assert {name: getattr(config, name) for name in release} == release


def test_the_release_counts_177_680_steps_of_cvusa_and_trains_177_600():
    recipe = TrainingRecipe.of(config_of("singeo", "cvusa"))
    rows = 35_532
    assert recipe.total_steps(rows) == 177_600
    assert recipe.lr_at(0, rows) == 0.0
    assert recipe.lr_at(1, rows) == pytest.approx(1e-4 / 2221)
    assert recipe.lr_at(2221, rows) == pytest.approx(1e-4)
    share = (177_599 - 2221) / (177_680 - 2221)
    last = 0.5e-4 * (1 + np.cos(np.pi * share))
    assert recipe.lr_at(177_599, rows) == pytest.approx(last, rel=1e-9)
    assert last > 0


def test_the_satellite_turns_of_the_paper_rise_from_25_to_100_percent_of_three_turns():
    """``--config half_turns=true --config "keep=[0.75, 0.0]"``."""
    texts = {"half_turns": "true", "keep": "[0.75, 0.0]"}
    ref, config = catalogue.configure("singeo", catalogue.recipe("singeo", "cvusa") | texts)
    assert config.keep == (0.75, 0.0)
    assert config.half_turns
    span, rng = TrainingLength(epochs=80, batches=2220), np.random.default_rng(0)
    turned = [
        1 - ref.load().staged(config, TrainingProgress(span=span, epoch=t), rng).keep[1]
        for t in range(80)
    ]
    assert turned[0] == pytest.approx(0.25 + 0.75 / 80)
    assert turned[-1] == 1.0


@pytest.mark.parametrize("page", [sample4geo, congeo, singeo])
def test_a_model_of_one_field_of_view_says_what_its_panoramas_showed(page):
    name = page.__name__.rsplit(".", 1)[-1]
    alone = name == "sample4geo"
    ref, config = catalogue.configure(name, only(90.0) | ({"shifted": True} if alone else {}))
    low, high = ref.load().views(config).fov_seen_deg
    assert (low, high) == ((90.0, 90.0) if alone else (90.0, 360.0))


def test_a_field_of_view_drawn_for_every_picture_needs_one_width():
    drawn = {"theta_deg": (361.0, 361.0)}
    for method in ("singeo", "congeo"):
        ref, config = catalogue.configure(method, {**drawn, "representation": "padded"})
        page, moment = (
            ref.load(),
            TrainingProgress(span=TrainingLength(epochs=2, batches=3), epoch=0),
        )
        assert page.views(config).fov_seen_deg == (180.0, 360.0)
        assert page.staged(config, moment, np.random.default_rng(0)).theta_deg == (361.0, 361.0)
        with pytest.raises(InvalidValue, match="representation=padded"):
            catalogue.configure(method, drawn)
        with pytest.raises(InvalidValue, match="no course"):
            catalogue.configure(method, {"theta_deg": (361.0, 70.0), "representation": "padded"})


def test_the_study_of_other_networks_weighs_a_transformers_terms_as_its_authors():
    study = read_studies()["singeo-transfer"]
    for settings in (study.row("vit-singeo").settings, study.row("vit-singeo").small):
        assert settings["cross"] == (0.25, 0.25, 1.0)
    assert "cross" not in study.row("masks-singeo").settings


def test_an_unknown_reading_is_refused_before_any_picture_is_read():
    for page in (singeo, congeo):
        with pytest.raises(InvalidValue, match="reading must be intent or release, got 'paper'"):
            page.Config(reading="paper")
