"""A model of one's own region, from its imagery alone, and whether it is surely better.

    python docs/examples/adapt.py city.tif my-model [MODEL] [MINUTES]

As ``crossview adapt`` does. What it is worth, and why photos of known place are the only judge:
docs/adapting.md.
"""

import sys
from pathlib import Path

from crossview.adaptation import Adaptation, AdaptOptions, adapt


def show(job: str, done: int, total: int) -> None:
    """A line per job, when it is done."""
    if done == total:
        print(f"{job}: {total} steps")


def main(imagery: Path, out: Path, model: str = "earth", minutes: str = "40") -> Adaptation:
    """Adapt, and say what came of it; the model is indexed with as any other."""
    options = AdaptOptions(sources=(imagery,), out=out, model=model, minutes=float(minutes))
    outcome = adapt(options, show, print)
    print("kept:", outcome.kept, "- judged by", outcome.judged_by)
    for name, found in outcome.differences.items():
        print(f"{name}: {found['difference']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})")
    return outcome


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
