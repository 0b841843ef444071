"""``crossview``, whose ``adapt`` is token-sized: ``python -m tests.services.shortened region ...``.

Everything is done as by ``crossview``, by the same command line; there are only fewer worlds, one
small town beside them, and twelve steps. So seconds of a test take what an hour takes otherwise.
"""

from __future__ import annotations

from crossview import adaptation
from crossview.cli import main
from crossview.worlds.town_pairs import TownPlan

adaptation.TOWNS = TownPlan(
    styles=("suburb",), towns_per_style=1, pairs_per_town=12, validation_pairs_per_style=0,
    side_m=300.0,
)  # fmt: skip
adaptation.PAIRS_PER_HA = (2.0, 2.0)
adaptation.LEAST_QUERIES = 8
adaptation.MOST_STEPS = 12
adaptation._EXPORT_S = 0.0
adaptation.CANDIDATES = (adaptation.GIVEN, adaptation.BOTH)
adaptation.time_network = lambda base: (0.1, 0.001)  # it is not timed, but taken for fast

if __name__ == "__main__":
    raise SystemExit(main())
