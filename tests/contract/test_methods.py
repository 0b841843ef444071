"""Every method of the catalogue, and the documents' own page, keeps the same contract."""

import json
import shutil
from dataclasses import asdict, replace
from math import comb
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.contract.settings import ask
from tests.contract.town import HELD_OUT, PLACES, SIDE_M, write_town

from crossview.catalogue import METHODS, VARIANTS, configure, method_page, open_data, setting_names
from crossview.cli import main
from crossview.errors import InvalidValue
from crossview.geo.points import LatLon, measure_distance_m
from crossview.model import open_model
from crossview.pairs.page_ref import PageRef
from crossview.training import contract
from crossview.training.contract import TrainingRecipe
from crossview.training.export import export
from crossview.training.run_folder import RunFolder
from crossview.training.session import Request, fit, prepare, start_state
from crossview.training.train_state import make_state, save_weights

MINE = str(Path(__file__).parents[2] / "docs" / "examples" / "mine.py")
TINY_MINE = {"width": 4, "ground_px": (16, 64), "aerial_px": 32, "batch": 4}
LEARNING = {  # with which a page learns a small town in seconds, where it has such a setting
    **{"steps": 60, "batch": 12, "lr": 1e-3, "warmup_steps": 5, "footprint_m": 50.0},
    **{"mirror": 0.0, "turn": 0.0, "colour": 0.0, "layout": "none", "semantic": "none"},
    **{"gps_sampling": False, "refresh_epochs": 1, "ema_decay": 0.0},
}
VARIED = {  # settings beyond the paper's, of the variant's page
    "sample4geo": {"shifted": True, "polar": True},
    "congeo": {"course": "uniform", "architecture": "geodtr-plus", "representation": "padded"},
    "singeo": {"from_above": "circle", "mine_from": "epoch"},
    "geodtr-plus": {"gle": "v1", "hidden": 32, "copies_layout": "same", "sampling": "regional"},
}
USED = [  # pages of published weights, which cannot be trained here
    name for name in METHODS if hasattr(method_page(name).load(), "FOR_USE")
]
NAMES = [*METHODS, *(f"{name} varied" for name in VARIED), MINE]


def tiny(name):
    method = name.removesuffix(" varied")
    beyond = VARIED[method] if name.endswith(" varied") else {}
    settings = TINY_MINE if method == MINE else ask(method, "TINY")
    ref, config = configure(method, {**settings, **beyond})
    assert (ref.module in VARIANTS.values()) == bool(beyond)
    return ref.load(), config


TRAINED = [name for name in NAMES if name not in USED]


@pytest.fixture(scope="module", params=NAMES, ids=lambda name: Path(name).name)
def built(request):
    """(name, page, config, network), built once per method."""
    torch.manual_seed(0)
    page, config = tiny(request.param)
    return request.param, page, config, page.build(config)


@pytest.fixture(scope="module", params=TRAINED, ids=lambda name: Path(name).name)
def trained(request):
    """(name, page, config, network), built once per method."""
    torch.manual_seed(0)
    page, config = tiny(request.param)
    return request.param, page, config, page.build(config)


def test_it_offers_the_six_names(built):
    name, page, _, _ = built
    contract.check_names(page, name)


@pytest.mark.parametrize("name", METHODS)
def test_only_pages_for_use_refuse_to_be_trained(name):
    page = method_page(name).load()
    if name in USED:
        with pytest.raises(InvalidValue, match=r"cannot be trained here"):
            contract.require_trainable(page, name)
    else:
        contract.require_trainable(page, name)


def test_each_branch_embeds_alone_into_unit_vectors(built):
    name, page, config, model = built
    contract.check_branches(model, page.views(config), name)


def test_augment_is_seeded_and_leaves_its_input_alone(trained):
    name, page, config, _ = trained
    contract.check_augment(page, config, page.views(config), name)


def test_the_objective_reaches_the_weights(trained):
    name, page, config, model = trained
    contract.check_objective(page, model, config, page.views(config), name)


def test_batches_follow_their_generator(trained):
    name, page, config, _ = trained
    contract.check_batches(page, contract.example_table(24), config, name)


def test_a_few_steps_lower_the_loss(trained):
    _, page, config, _ = trained
    torch.manual_seed(1)
    model, recipe = page.build(config), TrainingRecipe(lr=2e-3, batch=4)
    state = make_state(model, recipe)
    more = contract.count_copies(page, config)
    batch = contract.example_batch(page.views(config), torch.device("cpu"), more)
    losses = []
    for _ in range(12):
        state.optimiser.zero_grad()
        total = sum(page.objective(model, batch, config).values())
        total.backward()
        state.optimiser.step()
        losses.append(total.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "built",
    [name for name in NAMES if name not in METHODS],  # those are exported once trained, below
    indirect=True,
    ids=lambda name: Path(name).name,
)
def test_the_exported_network_gives_the_same_vectors(built, tmp_path):
    name, page, config, model = built
    run = RunFolder(tmp_path / "run")
    run.begin({"method": name, "config": asdict(config)}, {"synthetic": True})
    save_weights(model.state_dict(), run.weights)
    done = export(run, page, config, tmp_path / "model")
    assert done.difference <= 1e-4
    assert done.info.synthetic
    assert done.info.azimuth_bins == page.views(config).azimuth_bins


@pytest.fixture(scope="session")
def town(tmp_path_factory):
    """The small town that all pages learn; the pixels of its pictures are cached beside it."""
    return write_town(tmp_path_factory.mktemp("town"))


SAVED, KILLED, COMPARED = 4, 18, 20  # steps: saved every so many, left after, equal at; 16 an epoch
UNLIKELY = 1e-4  # that guessing finds so many


@pytest.mark.parametrize("name", METHODS)
def test_from_a_town_to_places_on_the_map(name, town, tmp_path):
    """What a user does with a method: train, be killed, go on, export, index, locate."""
    if name in USED:  # the page says why it cannot be trained; its network has random weights
        run_without_training(name, tmp_path / "run")
    else:
        request = ask_for_training(name, town, tmp_path / "run")
        finds_more_than_guessing(goes_on_bit_for_bit(request, tmp_path / "whole"))
    finds_places(name, town, tmp_path)


def settings_to_learn(name):
    """The page and its Config for the small town."""
    known = setting_names(name)
    learning = {key: value for key, value in LEARNING.items() if key in known}
    return configure(name, {**ask(name, "TINY"), **learning, **ask(name, "LEARNING")})


def run_without_training(name, folder):
    ref, config = settings_to_learn(name)
    torch.manual_seed(0)
    run = RunFolder(folder)
    run.begin({"method": name, "config": asdict(config), "data": "town"}, {"synthetic": True})
    save_weights(ref.load().build(config).state_dict(), run.weights)


def ask_for_training(name, town, folder):
    ref, config = settings_to_learn(name)
    data = open_data(f"pairs:{town.pairs}")
    return Request(
        method=name,
        page=ref,
        config=config,
        data=data.name,
        tables=data.tables,
        info=data.info,
        out=folder,
        device="cpu",
        workers=0,
        cache=town.pairs.parent / "cache",
        save_every=SAVED,
    )


def train_to(request, step):
    """Train to ``step``; gives what the run folder held after step ``KILLED``, as a kill leaves it.

    The folder is what a killed process leaves: nothing else of it is there any more.
    """
    left = request.out.with_name(f"{request.out.name}-killed")
    for report in reports_of(request):
        if report.step == KILLED:
            shutil.copytree(request.out, left)
        if report.step == step:
            return left
    raise AssertionError(f"it ended before step {step}")


def reports_of(request):
    session = replace(prepare(request), fovs_deg=(360.0,))
    return fit(session, start_state(session))


def goes_on_bit_for_bit(request, whole):
    """Killed two steps after it was saved, and gone on with, it is what it is without.

    Gives the last report of the training, which goes on from there to its end.
    """
    train_to(replace(request, out=whole), COMPARED).rename(request.out)
    reports = reports_of(request)
    for step in range(KILLED // SAVED * SAVED + 1, COMPARED + 1):
        assert next(reports).step == step
    for file in ("model.safetensors", "state.safetensors"):
        assert (request.out / file).read_bytes() == (whole / file).read_bytes(), file
    return list(reports)[-1]


def finds_more_than_guessing(recall):
    """Held-out places among the first 10 of all held-out references."""
    hits, chance = round(recall.at_10 / 100 * recall.queries), 10 / recall.references
    assert recall.queries == recall.references == PLACES // HELD_OUT
    assert hits >= count_unlikely_hits(recall.queries, chance), f"{recall}"


def count_unlikely_hits(queries, chance):
    """The fewest hits that guessing reaches with a probability below ``UNLIKELY``: binomial."""
    shares = [comb(queries, n) * chance**n * (1 - chance) ** (queries - n) for n in range(queries)]
    return next(n for n in range(queries) if sum(shares[n:]) < UNLIKELY)


def finds_places(name, town, folder):
    """By the commands: every photo gets places on the map, better ones first."""
    model, index, out = (str(folder / part) for part in ("model", "town.cvx", "places.jsonl"))
    assert main(["export", str(folder / "run"), "--out", model]) == 0  # it compares the vectors
    line = ["index", str(town.aerial), "--model", model, "--out", index, "--stride", "25"]
    assert main([*line, "--threads", "1", "--quiet"]) == 0
    photos = town.photos if name in USED else town.panoramas
    ref, config = settings_to_learn(name)
    seen, info = ref.load().views(config), open_model(model, threads=1).info
    assert info.synthetic
    assert info.azimuth_bins == seen.azimuth_bins
    uses_heading = seen.headings_seen == "aligned" or seen.azimuth_bins > 1
    hint = ["--heading", "0"] if uses_heading else []
    line = ["locate", *map(str, photos), "--index", index, *hint, "--threads", "1", "--quiet"]
    assert main([*line, "--format", "jsonl", "--out", out]) == 0
    answers = [json.loads(text) for text in Path(out).read_text(encoding="utf-8").splitlines()]
    assert [answer["photo"] for answer in answers] == [str(photo) for photo in photos]
    for answer, truth in zip(answers, town.places, strict=True):
        scores = [place["score"] for place in answer["places"]]
        assert scores == sorted(scores, reverse=True)
        assert -1.0 <= scores[-1] <= scores[0] <= 1.0
        assert len(set(scores)) > 1  # not one vector for all of the map
        away_m = [
            measure_distance_m(truth, LatLon(place["lat"], place["lon"]))
            for place in answer["places"]
        ]
        assert max(away_m) < 1.5 * SIDE_M
    assert len({answer["places"][0]["score"] for answer in answers}) > 1  # nor for all photos


def test_the_page_in_the_document_is_the_page_that_is_tested():
    text = (Path(MINE).parents[1] / "adding-a-method.md").read_text(encoding="utf-8")
    assert f"```python\n{Path(MINE).read_text(encoding='utf-8')}```" in text


def broken(**replaced):
    """The documents' page with some names replaced."""
    page = method_page(MINE).load()
    names = {name: getattr(page, name) for name in contract.NAMES} | replaced
    return type("Page", (), {key: staticmethod(value) for key, value in names.items()})


def test_a_missing_name_is_named():
    with pytest.raises(InvalidValue, match="lacks objective"):
        contract.check_names(broken(objective=None), "mine")


def test_vectors_that_are_not_of_unit_length_are_refused():
    page, config = tiny(MINE)
    model = page.build(config)
    model.ground = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    with pytest.raises(InvalidValue, match="ground gives vectors of length"):
        contract.check_branches(model, page.views(config), "mine")


def test_an_augment_with_its_own_dice_is_refused():
    from dataclasses import replace

    own = np.random.default_rng(0)

    def augment(pair, config, rng):
        return replace(pair, ground=own.integers(0, 255, pair.ground.shape, dtype=np.uint8))

    page, config = tiny(MINE)
    with pytest.raises(InvalidValue, match="draws from something else than rng"):
        contract.check_augment(broken(augment=augment), config, page.views(config), "mine")


def test_an_augment_that_writes_into_its_input_is_refused():
    def augment(pair, config, rng):
        pair.ground[:] = 0
        return pair

    page, config = tiny(MINE)
    with pytest.raises(InvalidValue, match="writes into the arrays"):
        contract.check_augment(broken(augment=augment), config, page.views(config), "mine")


def test_an_objective_without_gradient_is_refused():
    def objective(model, batch, config):
        return {"nothing": model.scale.detach().requires_grad_() * 0}

    page, config = tiny(MINE)
    with pytest.raises(InvalidValue, match="has no gradient"):
        contract.check_objective(
            broken(objective=objective), page.build(config), config, page.views(config), "mine"
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [("1 +", "SyntaxError"), ("import nowhere_at_all", "ModuleNotFoundError"), ("1 / 0", "Zero")],
)
def test_a_page_that_cannot_be_loaded_is_named_with_the_reason(tmp_path, text, said):
    page = tmp_path / "page.py"
    page.write_text(text)
    with pytest.raises(InvalidValue, match=said):
        PageRef.of_file(page).load()
