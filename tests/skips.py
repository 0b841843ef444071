"""What was skipped and why, said at the end of a run: a skipped test looks like a passed one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

WANTS = {
    "needs shared/": "../shared",
    "needs Chromium": "Chromium",
    "needs a CUDA": "a GPU",
    "needs the package ": "a package",
}


def told_skips(reports: Iterable[Any]) -> list[str]:
    """A line per reason: how many tests, and how many of them in which file.

    A file that is skipped as a whole counts once. Reports that come twice, as from several
    processes, count once.
    """
    seen: dict[str, tuple[str, str]] = {}
    for report in reports:
        file = report.nodeid.partition("::")[0]
        seen[report.nodeid] = (_want(_reason(report)), file)
    lines = []
    for want, count in Counter(want for want, _ in seen.values()).most_common():
        files = Counter(file for other, file in seen.values() if other == want)
        named = ", ".join(f"{file} ({n})" for file, n in sorted(files.items()))
        why = f"for want of {want}" if want in WANTS.values() else f"because {want}"
        lines.append(f"{count} skipped {why}: {named}")
    return lines


def _reason(report: Any) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _want(reason: str) -> str:
    return next((want for begin, want in WANTS.items() if reason.startswith(begin)), reason)
