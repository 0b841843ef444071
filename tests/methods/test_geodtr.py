"""GeoDTR, as the suites over all methods ask for it; ``test_geodtr_plus.py`` has more of it."""

from tests.methods.checkpoints import HEADS, POLAR, SQUARE, Published, assert_layout
from tests.methods.shared_settings import LAYOUT, PLAIN, TINY_LAYOUT, VIGOR_LAYOUT

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    **TINY_LAYOUT,
    "backbone": "test_resnet",
}
GEODTR = LAYOUT | {"backbone": "resnet34.tv_in1k", "hidden": 2048}
RELEASES = {
    "cvusa": GEODTR,
    "cvusa-plain": GEODTR | PLAIN,
    "cvact": GEODTR,
    "cvact-plain": GEODTR | PLAIN,
    "vigor": GEODTR | VIGOR_LAYOUT,
}
CHECKPOINTS = {
    "geodtr_nopolar": Published(shown=SQUARE, told=(HEADS,), tolerance=3e-4, check=assert_layout),
    "geodtr_polar": Published(shown=POLAR, told=(HEADS,), tolerance=3e-4, check=assert_layout),
}
