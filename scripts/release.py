"""Make a version of what stands under "Unreleased". Run by ``make release VERSION=X.Y.Z``.

Every file that names the version is changed (the package, the citation, the change log), in one
commit with a tag. Nothing is pushed. Without ``--commit`` (``COMMIT=yes`` of make) it only says
what it would do. It refuses a working tree with changes, a version that goes back or is there
already, a change log with nothing new, and a number that is too small for what has changed, as far
as the headings of the change log tell (docs/stability.md).

    python -m scripts.release 0.5.0             what would be done, and the notes
    python -m scripts.release 0.5.0 --commit    do it
    python -m scripts.release --notes 0.5.0     the notes of a version that is in the change log
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION_FILE, CITATION, CHANGELOG = "src/crossview/_version.py", "CITATION.cff", "CHANGELOG.md"
FIRST = "## [Unreleased]"
# Headings of Keep a Changelog, and Metrics: figures that move, so that answers may change.
PATCH_HEADINGS = {"Fixed", "Security"}
HEADINGS = {"Added", "Changed", "Deprecated", "Removed", "Metrics", *PATCH_HEADINGS}
_NUMBER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)
_HEADING = re.compile(r"^## \[(\S+?)\](?: - (\d{4}-\d\d-\d\d))?[ \t]*$", re.M)


def main(arguments: list[str] | None = None) -> int:
    """0 if it was done, or could be; else what stands in the way is on stderr."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("version", nargs="?", help="X.Y.Z")
    parser.add_argument("--commit", action="store_true", help="commit and tag; else only say it")
    parser.add_argument("--notes", metavar="VERSION", help="print the notes of a version")
    wanted = parser.parse_args(arguments)
    sections = read_sections((ROOT / CHANGELOG).read_text(encoding="utf-8"))
    if wanted.notes:
        if not sections.get(wanted.notes):
            print(f"{CHANGELOG} has no version {wanted.notes}", file=sys.stderr)
            return 1
        print(sections[wanted.notes])
        return 0
    if not wanted.version:
        parser.error("say which version: make release VERSION=0.5.0")
    problems = [*find_tree_problems(ROOT), *find_problems(ROOT, wanted.version)]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 1
    today = datetime.datetime.now(tz=datetime.UTC).date()
    files = change_files(ROOT, wanted.version, today)
    print(f"{wanted.version}, {today}: {', '.join(files)}; a commit, and the tag v{wanted.version}")
    print(f"\n{sections['Unreleased']}\n")
    if not wanted.commit:
        print("Nothing was changed. To do it: make release VERSION=... COMMIT=yes")
        return 0
    write_release(ROOT, wanted.version, files, sections["Unreleased"])
    print(f"Done. After a last look: git push origin HEAD v{wanted.version}")
    return 0


def read_sections(text: str) -> dict[str, str]:
    """What a change log says of each version, newest first, "Unreleased" among them."""
    found = list(_HEADING.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {
        match[1]: text[match.end() : end].strip() for match, end in zip(found, ends, strict=True)
    }


def read_headings(section: str) -> dict[str, str]:
    """What stands under each "###" of one version; headings without a line are left out."""
    parts = re.split(r"^### (.+?)[ \t]*$", section, flags=re.M)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {name: text.strip() for name, text in pairs if text.strip()}


def read_version(root: Path) -> str:
    """The version that the package names."""
    text = (root / VERSION_FILE).read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "([^"]+)"$', text, re.M)[0]


def find_tree_problems(root: Path) -> Iterator[str]:
    """Changes that nobody has committed: they would be in no version, or in this by accident."""
    if changed := _git(root, "status", "--porcelain").strip():
        yield f"There are changes that are not committed:\n{changed}"


def find_problems(root: Path, version: str) -> Iterator[str]:
    """Why this version cannot be made of what stands under "Unreleased"."""
    if not _NUMBER.fullmatch(version):
        yield f"{version} is no version: write X.Y.Z, three numbers"
        return
    sections = read_sections((root / CHANGELOG).read_text(encoding="utf-8"))
    news = read_headings(sections.get("Unreleased", ""))
    if not news:
        yield f'{CHANGELOG} says nothing under "{FIRST}"'
    if unknown := news.keys() - HEADINGS:
        yield f"{CHANGELOG}: no heading is called {', '.join(sorted(unknown))}"
    now, released = read_version(root), [name for name in sections if name != "Unreleased"]
    if version in released or f"v{version}" in _git(root, "tag", "--list").split():
        yield f"{version} is there already"
    elif _parts(version) < _parts(now):
        yield f"{version} is before {now}, which the package says it is"
    if released:
        yield from find_step_problems(released[0], version, news)
        yield from find_sudden_removals(sections, news)


def find_step_problems(last: str, version: str, news: Mapping[str, str]) -> Iterator[str]:
    """Whether the step is as large as docs/stability.md asks for what the headings announce."""
    before, after = _parts(last), _parts(version)
    if after <= before:
        yield f"{version} is not after {last}, the last version of {CHANGELOG}"
        return
    follows = {
        (before[0], before[1], before[2] + 1),
        (before[0], before[1] + 1, 0),
        (before[0] + 1, 0, 0),
    }
    if after not in follows:
        yield f"{version} does not follow {last}: one number goes up by one, those after it are 0"
    larger = sorted(news.keys() - PATCH_HEADINGS)
    if after[:2] == before[:2] and larger:
        yield f"{version} would only mend {last}, and there are lines under {', '.join(larger)}"
    if before[0] > 0 and after[0] == before[0] and "Removed" in news:
        yield f"Something is removed: from 1.0.0 on that asks for {before[0] + 1}.0.0"


def find_sudden_removals(sections: Mapping[str, str], news: Mapping[str, str]) -> Iterator[str]:
    """Names (in backticks) that are removed and were not deprecated in a version before.

    Whatever a line under "Removed" names first is what is removed.
    """
    told = " ".join(
        read_headings(text).get("Deprecated", "")
        for name, text in sections.items()
        if name != "Unreleased"
    )
    for line in re.findall(r"^- (.+(?:\n  .+)*)", news.get("Removed", ""), re.M):
        named = re.findall(r"`([^`]+)`", line)
        if named and f"`{named[0]}`" not in told:
            yield f"`{named[0]}` is removed, and no version before named it under Deprecated"


def change_files(root: Path, version: str, day: datetime.date) -> dict[str, str]:
    """The new content of every file that names the version, by its path."""
    changelog = (root / CHANGELOG).read_text(encoding="utf-8")
    return {
        VERSION_FILE: _change(
            root, VERSION_FILE, r'^__version__ = ".*"$', f'__version__ = "{version}"'
        ),
        CITATION: _cite(root, version, day),
        CHANGELOG: changelog.replace(FIRST, f"{FIRST}\n\n## [{version}] - {day}", 1),
    }


def _cite(root: Path, version: str, day: datetime.date) -> str:
    text = _change(root, CITATION, r"^version: .*$", f"version: {version}")
    text = re.sub(r"^date-released: .*\n", "", text, flags=re.M)
    return text.replace(f"version: {version}\n", f"version: {version}\ndate-released: {day}\n", 1)


def _change(root: Path, name: str, pattern: str, line: str) -> str:
    text, count = re.subn(pattern, line, (root / name).read_text(encoding="utf-8"), flags=re.M)
    if count != 1:
        raise SystemExit(f"{name} names the version {count} times, not once")
    return text


def write_release(root: Path, version: str, files: Mapping[str, str], notes: str) -> None:
    """Write the files, commit them and nothing else, and tag the commit with the notes."""
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8", newline="\n")
    try:
        _git(root, "commit", "--quiet", "--message", f"Release {version}", "--", *files)
    except SystemExit:  # a hook refuses, or git knows no name: as if nothing had been tried
        _git(root, "checkout", "HEAD", "--", *files)
        raise
    # As it is: a heading begins with the sign that would make a comment of it.
    _git(
        root, "tag", "--annotate", f"v{version}", "--cleanup=verbatim",
        "--message", f"crossview {version}\n\n{notes}\n",
    )  # fmt: skip


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"git {' '.join(words[:2])}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
