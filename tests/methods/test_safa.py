"""SAFA, as the suites over all methods ask for it; ``test_geodtr_plus.py`` has more of it."""

from tests.methods.shared_settings import MINING, PLAIN, VIGOR_LAYOUT

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    "backbone": "test_resnet",
    "weights": "none",
    "ground_px": (32, 128),
    "aerial_px": (32, 128),
    "batch": 4,
}
SAFA = {
    "backbone": "vgg16.tv_in1k",
    "ground_px": (112, 616),
    "aerial_px": (112, 616),
    "polar": True,
    "whole": True,
    "masks": 8,
    "reduce": "mean",
    "alpha": 10.0,
    "batch": 32,
    "epochs": 100.0,
    "lr": 1e-5,
    "weight_decay": 0.0,
}
RELEASES = {
    "cvusa": SAFA,
    "cvusa-plain": SAFA | PLAIN,
    "cvact": SAFA,
    "cvact-plain": SAFA | PLAIN,
    "vigor": SAFA | VIGOR_LAYOUT | {"reduce": "max"},
    "vigor-same-mining": SAFA | VIGOR_LAYOUT | MINING | {"epochs": 30.0},
    "vigor-cross-mining": SAFA | VIGOR_LAYOUT | MINING | {"epochs": 11.0},
}
