"""The elements of a small XML file, read without entities: nothing else is opened or fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from crossview.errors import BadImagery


def read_elements(
    path: Path, most_bytes: int, kind: str, advice: str = ".\nCorrect or remove it."
) -> Iterator[tuple[str, dict[str, str], str]]:
    """(name, attributes, text) of every element; entities are refused, nothing is fetched.

    Raises :class:`BadImagery` for what is larger than ``most_bytes`` or is not XML. ``kind`` names
    the file and ``advice`` says what to do, in those errors.
    """
    elements: list[tuple[str, dict[str, str], list[str]]] = []
    open_now: list[list[str]] = []

    def start(name: str, values: dict[str, str]) -> None:
        elements.append((name.rpartition(":")[2], values, []))
        open_now.append(elements[-1][2])

    def text(data: str) -> None:
        if open_now:
            open_now[-1].append(data)

    def refuse(*_: object) -> None:
        raise BadImagery(f"{path} declares entities, which {kind} has no use for.")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: open_now.pop()
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = refuse
    try:
        if path.stat().st_size > most_bytes:
            raise BadImagery(f"{path} is too large for {kind} ({path.stat().st_size:,} bytes).")
        parser.Parse(path.read_bytes(), True)
    except (OSError, expat.ExpatError, LookupError, ValueError) as problem:
        raise BadImagery(f"{path} cannot be read as XML ({problem}){advice}") from problem
    for name, values, parts in elements:
        yield name, values, "".join(parts)
