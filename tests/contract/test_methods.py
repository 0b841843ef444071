"""Every method of the catalogue, and the documents' own page, keeps the same contract."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from crossview.catalogue import METHODS, VARIANTS, configure, method_page
from crossview.errors import InvalidValue
from crossview.pairs.page_ref import PageRef
from crossview.training import contract
from crossview.training.contract import TrainingRecipe
from crossview.training.export import export
from crossview.training.run_folder import RunFolder
from crossview.training.train_state import make_state, save_weights

MINE = str(Path(__file__).parents[2] / "docs" / "examples" / "mine.py")
CONTRASTIVE = {
    "backbone": "test_convnext",
    "weights": "none",
    "aerial_px": 64,
    "ground_px": (32, 192),
    "neighbour_range": 12,
    "neighbour_select": 8,
    "batch": 4,
}
TINY_LAYOUT = {
    "weights": "none",
    "ground_px": (32, 128),
    "aerial_px": (32, 128),
    "hidden": 32,
    "dropout": 0.0,
    "batch": 4,
}
TINY = {  # settings that make a page small enough for a test; everything else as it is
    "sample4geo": CONTRASTIVE,
    "congeo": CONTRASTIVE,
    "singeo": CONTRASTIVE,
    "compass": {"widths": (8, 16, 16), "blocks": (1, 1, 1), "depth": 8, "batch": 4},
    "geodtr": {**TINY_LAYOUT, "backbone": "test_resnet"},
    "geodtr-plus": {**TINY_LAYOUT, "backbone": "test_convnext", "drop_path": 0.0},
    "safa": {
        "backbone": "test_resnet",
        "weights": "none",
        "ground_px": (32, 128),
        "aerial_px": (32, 128),
        "batch": 4,
    },
    "saig-d": {
        "weights": "none",
        "stem": (8, 8, 8, 16, 16, 16),
        "width": 24,
        "depth": 2,
        "heads": 2,
        "ground_px": (32, 128),
        "aerial_px": (64, 64),
        "batch": 4,
    },
    "vigor-offset": {
        "backbone": "test_resnet",
        "weights": "none",
        "ground_px": (32, 128),
        "aerial_px": (32, 32),
        "hidden": 16,
        "plain_epochs": 0,
        "batch": 4,
    },
    "dsm": {
        "weights": "none",
        "widths": (8, 8, 16, 16),
        "head": (16, 8, 4),
        "ground_px": (32, 128),
        "aerial_px": (32, 128),
        "batch": 4,
    },
    "transgeo": {
        "weights": "none",
        "width": 16,
        "layers": 2,
        "heads": 2,
        "dim": 16,
        "ground_px": (32, 128),
        "aerial_px": (64, 64),
        "batch": 4,
    },
    "statewide": {
        "backbone": "test_convnext",
        "heads": 4,
        "channels": 64,
        "ground_px": (64, 96),
        "aerial_px": 64,
        "metres_per_px": (0.2, 0.4),
    },
    MINE: {"width": 4, "ground_px": (16, 64), "aerial_px": 32, "batch": 4},
}
VARIED = {  # settings beyond the paper's, of the variant's page
    "sample4geo": {"shifted": True, "polar": True},
    "congeo": {"course": "uniform", "architecture": "geodtr-plus", "representation": "padded"},
    "singeo": {"from_above": "circle", "mine_from": "epoch"},
    "geodtr-plus": {"gle": "v1", "hidden": 32, "copies_layout": "same", "sampling": "regional"},
}
USED = ["statewide"]  # pages of published weights, which cannot be trained here
NAMES = [*METHODS, *(f"{name} varied" for name in VARIED), MINE]


def tiny(name):
    method = name.removesuffix(" varied")
    beyond = VARIED[method] if name.endswith(" varied") else {}
    ref, config = configure(method, {**TINY.get(method, {}), **beyond})
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


def test_the_exported_network_gives_the_same_vectors(built, tmp_path):
    name, page, config, model = built
    run = RunFolder(tmp_path / "run")
    run.begin({"method": name, "config": asdict(config)}, {"synthetic": True})
    save_weights(model.state_dict(), run.weights)
    done = export(run, page, config, tmp_path / "model")
    assert done.difference <= 1e-4
    assert done.info.synthetic
    assert done.info.azimuth_bins == page.views(config).azimuth_bins


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
