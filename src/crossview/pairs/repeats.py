"""Pictures that a list holds more than once, under different names.

By the md5 of the decoded pixels, as GeoDTR+ (Zhang et al., TPAMI 2024) cleans CVUSA: ground and
aerial pictures apart, the first of each group kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossview.arrays import I64
from crossview.errors import BadImage
from crossview.pairs.pictures import CHUNK, Unreadable, in_order, unreadable

Digest = str | Unreadable


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """What is there more than once among the rows of one list."""

    ground: tuple[tuple[int, ...], ...]  # groups of two or more ground pictures, equal pixels
    aerial: tuple[tuple[int, ...], ...]
    kept: tuple[int, ...]  # rows without a picture of an earlier kept row


def pixel_digests(side: str, paths: Sequence[Path], workers: int) -> Iterator[list[Digest]]:
    """The md5 of the RGB pixels of each picture, some at a time, in order."""
    numbered = list(enumerate(paths))
    jobs = [(side, numbered[i : i + CHUNK]) for i in range(0, len(numbered), CHUNK)]
    yield from in_order(_digests, None, jobs, workers)


def repeats(ground: Sequence[str], aerial: Sequence[str], pairs: I64) -> Repeats:
    """From the digests of the pictures [G] and [A] and the rows [P, 2] of a table."""
    seen_ground: set[str] = set()
    seen_aerial: set[str] = set()
    kept = []
    for row, (g, a) in enumerate(pairs.tolist()):
        if ground[g] not in seen_ground and aerial[a] not in seen_aerial:
            kept.append(row)
            seen_ground.add(ground[g])
            seen_aerial.add(aerial[a])
    return Repeats(ground=_groups(ground), aerial=_groups(aerial), kept=tuple(kept))


def _groups(digests: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    members: dict[str, list[int]] = {}
    for index, digest in enumerate(digests):
        members.setdefault(digest, []).append(index)
    return tuple(tuple(group) for group in members.values() if len(group) > 1)


def _digests(_: None, side: str, chunk: list[tuple[int, Path]]) -> list[Digest]:
    from crossview.views.decode import read_rgb

    found: list[Digest] = []
    for index, path in chunk:
        try:
            pixels = read_rgb(path)
        except BadImage as problem:
            found.append(unreadable(side, index, path, problem))
            continue
        found.append(hashlib.md5(pixels.tobytes(), usedforsecurity=False).hexdigest())
    return found
