"""Settings that several methods share: small ones for the suites, and those of releases."""

TINY_CONTRASTIVE = {
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
POOLED = {"backbone": "test_resnet@8", "lr": 3e-3, "steps": 50}  # learns a town

SCRIPTS = {  # of Sample4Geo, ConGeo and SinGeo alike
    "backbone": "convnext_base.fb_in22k_ft_in1k_384",
    "architecture": "pooled",
    "separate": False,
    "representation": "narrow",
    "whole": True,
    "polar": False,
    "aerial_px": 384,
    "ground_px": (140, 768),
    "mirror": 0.5,
    "turn": 0.75,
    "colour": 1.0,
    "smoothing": 0.1,
    "weight_decay": 0.01,
    "decay_vectors": True,
    "warmup_epochs": 1.0,
    "warmup_steps": 0,
    "schedule": "loader",
    "clip_value": 100.0,
    "gps_sampling": True,
    "neighbour_select": 64,
    "neighbour_range": 128,
    "refresh_epochs": 4,
    "mine_from": "pass",
    "accumulate": 1,
    "chunk": 0,
    "ema_decay": 0.0,
    "steps": 0,
    "seed": 42,
}
VIGOR_PX = {"ground_px": (384, 768), "seed": 1}
NO_MINING = {"gps_sampling": False, "refresh_epochs": 0}
LAYOUT = {
    "ground_px": (122, 671),
    "aerial_px": (122, 671),
    "polar": True,
    "whole": True,
    "descriptors": 8,
    "dropout": 0.3,
    "layout": "strong",
    "semantic": "strong",
    "alpha": 10.0,
    "beta": 5.0,
    "counterfactual": 1.0,
    "batch": 32,
    "epochs": 200.0,
    "steps": 0,
    "lr": 1e-4,
    "weight_decay": 0.03,
    "decay_vectors": True,
    "eps": 1e-6,
    "warmup_epochs": 5.0,
    "schedule": "epochs",
    "clip_norm": 1.0,
}
PLAIN = {"polar": False, "aerial_px": (256, 256)}
VIGOR_LAYOUT = {"ground_px": (320, 640), "aerial_px": (320, 320), "polar": False}
MINING = {
    "batch": 14,
    "whole": True,
    "reduce": "max",
    "schedule": "exponential",
    "tenth_steps": 150_000,
    "refresh_epochs": 1,
    "mine_from": "epoch",
    "neighbour_range": 100,
}


def only(theta):
    """Trained for one field of view."""
    return {"course": "fixed", "theta_deg": (theta, theta)}


def cut(theta):
    return {"shifted": True, **only(theta)}
