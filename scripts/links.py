"""The addresses outside of the project that the documents name: ``make links`` asks for each.

No test does, because tests need no network. ``python -m scripts.links --list`` only prints them.
"""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_ADDRESS = re.compile(r"\]\((https?://[^)\s]+)\)|<(https?://[^>\s]+)>")
_TIMEOUT_S = 30.0


def list_addresses() -> list[str]:
    """Every address that a link of a document leads to, once, in order."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    found = [m for path in paths for m in _ADDRESS.findall(path.read_text(encoding="utf-8"))]
    return sorted({one or other for one, other in found})


def ask(address: str) -> str:
    """What the server answers: its status, or why there is none."""
    request = urllib.request.Request(  # noqa: S310 - https, from our own documents
        address, method="GET", headers={"User-Agent": "crossview-links"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return str(answer.status)
    except urllib.error.HTTPError as problem:
        return str(problem.code)
    except OSError as problem:
        return str(problem)


def main() -> int:
    """0 if every address answered with 200 (or if they were only listed)."""
    addresses = list_addresses()
    if "--list" in sys.argv[1:]:
        print("\n".join(addresses))
        return 0
    answers = {address: ask(address) for address in addresses}
    for address, answer in answers.items():
        print(f"{answer}  {address}")
    return 0 if set(answers.values()) <= {"200"} else 1


if __name__ == "__main__":
    raise SystemExit(main())
