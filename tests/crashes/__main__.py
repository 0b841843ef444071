"""Kill every command at every change of the file system, and print what came of it.

python -m tests.crashes                 # all of them: about an hour on two cores
python -m tests.crashes train "index --add" --moments 50
python -m tests.crashes adapt --kept adapt.jsonl  # stopped and run again, it goes on
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from tests.crashes.harness import Case
from tests.crashes.trials import Server
from tests.crashes.verbs import VERBS


def main() -> int:
    """1 where a trial ended badly; the table goes to stdout, what went wrong to stderr and FILE."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[[], *VERBS], metavar="VERB")
    parser.add_argument("--moments", type=int, default=20, help="kills at seeded moments")
    parser.add_argument("--most", type=int, help="of the changes, so many drawn by the seed")
    parser.add_argument("--seed", type=int, default=0, help="of these moments")
    parser.add_argument("--kept", type=Path, help="a line of JSON per trial; none is made twice")
    parser.add_argument("--out", type=Path, help="also add a line of JSON per command")
    options = parser.parse_args()
    failed = 0
    print("| command | changes | instants tried | survived |\n|---|---|---|---|", flush=True)
    with Server() as server, tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(options.names or VERBS):
            case = Case(server, name, Path(folder) / str(number) / "work")
            tried = [
                *case.instants(options.most, options.seed),
                *case.moments(options.moments, options.seed),
            ]
            wrong = [(i, p) for i in tried if (p := _try(case, i, options.kept))]
            if problems := case.two_at_once():
                wrong.append(({"two": True}, problems))
            failed += len(wrong)
            total = len(tried) + 1
            print(f"| {name} | {case.changes} | {total} | {total - len(wrong)} |", flush=True)
            for instant, problems in wrong:
                print("  ", instant, *problems, sep="\n      ", flush=True)
            if options.out:
                line = {
                    "command": name,
                    "changes": case.changes,
                    "tried": total,
                    "wrong": wrong,
                }
                with options.out.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")
    return 1 if failed else 0


def _try(case: Case, instant: dict[str, Any], kept: Path | None) -> list[str]:
    """What is wrong after a kill at this instant, as an earlier run found it or as it is found."""
    of = {"command": case.name, "changes": case.changes, "instant": instant}
    if kept is not None and kept.is_file():
        for line in kept.read_text(encoding="utf-8").splitlines():
            told = json.loads(line)
            if told["of"] == of:
                return list(told["wrong"])
    wrong = case.trial(**instant)
    if kept is not None:
        with kept.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"of": of, "wrong": wrong}) + "\n")
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
