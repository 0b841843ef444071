"""``python -m benchmarks.run`` lists the benchmarks; with a name it runs that one.

A benchmark is a file of this folder whose first docstring line says what it compares, with a
``main()`` that ends in ``harness.report(...)``, called under ``if __name__ == "__main__"``.
"""

from __future__ import annotations

import ast
import difflib
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
NOT_BENCHMARKS = {"__init__", "run", "harness"}


def benchmarks() -> dict[str, str]:
    """Names and what they compare, read without importing anything."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem not in NOT_BENCHMARKS and not path.stem.startswith("_"):
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            found[path.stem] = docstring.partition("\n")[0]
    return found


def main(arguments: list[str]) -> int:
    """List without arguments; else run the named benchmark with the remaining arguments."""
    known = benchmarks()
    if not arguments:
        width = max(map(len, known), default=0)
        for name, line in known.items():
            print(f"{name:{width}}  {line}")
        print("\nRun one with: make bench NAME=" + (next(iter(known), "...")))
        return 0
    name, *rest = arguments
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        print(f"Unknown benchmark {name!r}.{hint} Known: {', '.join(known)}.", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", f"benchmarks.{name}", *rest]
    return subprocess.run(command, cwd=FOLDER.parent, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
