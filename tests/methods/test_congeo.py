"""ConGeo, as the suites over all methods ask for it; ``test_singeo.py`` tests what both share."""

from tests.methods.checkpoints import ALIKE, BASE, SMALLEST, Published
from tests.methods.shared_settings import POOLED, SCRIPTS, TINY_CONTRASTIVE, VIGOR_PX, only

# What the suites over all methods ask (tests/contract/settings.py).
TINY = TINY_CONTRASTIVE
LEARNING = {**POOLED, "theta_deg": (360.0, 270.0)}
CONGEO = SCRIPTS | {
    "batch": 16,
    "epochs": 60.0,
    "lr": 1e-4,
    "reading": "release",
    "course": "fixed",
    "theta_deg": (360.0, 180.0),
    "cross": (0.25, 0.0, 0.0),
    "alike": 0.5,
}
RELEASES = {
    "cvusa": CONGEO,
    **{f"cvusa-{t}": CONGEO | only(float(t)) for t in (360, 90, 70)},
    "cvact": CONGEO | {"seed": 1},
    **{f"cvact-{t}": CONGEO | only(float(t)) | {"seed": 1} for t in (360, 90, 70)},
    "vigor": CONGEO | VIGOR_PX,
}
CHECKPOINTS = {
    "congeo_convnext_base": Published(shown=BASE, told=(ALIKE,)),
    "congeo_convnext_tiny": Published(shown=SMALLEST, told=(ALIKE,)),
}
