"""Read damaged files of every kind, and print what came of it.

python -m tests.fuzz --inputs 2500              # of each kind: about an hour on two cores
python -m tests.fuzz --kind photo --inputs 9000 --seed 3
python -m tests.fuzz --kind photo --keep 1234 --out kept    # one input, with its traceback
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path


def main() -> int:
    """1 where anything but a refusal of our own or a right answer came of an input."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kind", action="append", help="only this one; repeatable")
    parser.add_argument("--inputs", type=int, default=2500, help="damaged files of each kind")
    parser.add_argument("--seconds", type=float, default=1e9, help="the most for each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--keep", type=int, help="make this input, read it, keep it in --out")
    parser.add_argument("--out", type=Path, help="also add a line of JSON per kind to this file")
    options = parser.parse_args()
    for name in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{name}_NUM_THREADS"] = "1"
    from tests.crashes.verbs import import_everything
    from tests.fuzz.kinds import KINDS
    from tests.fuzz.runner import fuzz, make_input, summarize

    import_everything()
    if options.keep is not None:
        (name,) = options.kind
        base, folder = options.out / "whole", options.out / "input"
        base.mkdir(parents=True)
        KINDS[name].make(base)
        import shutil

        shutil.copytree(base, folder)
        chosen = make_input(base, folder, KINDS[name], name, options.seed, options.keep)
        print(folder / chosen, flush=True)
        try:
            print(KINDS[name].read(folder, chosen))
        except Exception:
            traceback.print_exc()
        return 0
    tallies = []
    for name in options.kind or KINDS:
        tally = fuzz(
            name, options.inputs, seed=options.seed, first=options.first, seconds=options.seconds
        )
        tallies.append(tally)
        print(*summarize([tally]).splitlines()[2:], sep="\n", file=sys.stderr, flush=True)
        if options.out:
            with options.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(tally)) + "\n")
    print(summarize(tallies))
    return 0 if all(tally.ok for tally in tallies) else 1


if __name__ == "__main__":
    raise SystemExit(main())
