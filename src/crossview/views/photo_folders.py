"""Photos among the files and folders of a command: which files count, what is left out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crossview.errors import BadImage
from crossview.files import walk_files
from crossview.views.decode import RAW_SUFFIXES, SUFFIXES, VIDEO_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class PhotoFiles:
    """The content of a folder and those below it."""

    folder: Path
    photos: tuple[Path, ...]  # by their names' endings, sorted
    films: int  # videos and raw files, which are left out
    others: int  # files that are not photos

    @property
    def films_remark(self) -> str:
        """How to make photos of videos and raw files."""
        return (
            f"Left out as videos or raw files below {self.folder}: {self.films}. "
            "Take frames of videos and develop raw files to JPEG to use them."
        )

    @property
    def remark(self) -> str:
        """What is left out, in a sentence or two; "" if nothing is."""
        sentences = [self.films_remark] if self.films else []
        if self.others:
            sentences.append(f"Left out, not photos, below {self.folder}: {self.others}.")
        return "\n".join(sentences)


def find_photos(folder: str | Path) -> PhotoFiles:
    """The photos in a folder and below it; system files are ignored, links are not followed.

    Raises :class:`BadImage` for a folder without photos, or that cannot be read.
    """
    place = Path(folder)
    try:
        with os.scandir(place):
            pass
    except OSError as problem:
        raise BadImage(f"{place}: the folder cannot be read ({problem.strerror}).") from problem
    files = walk_files(place)
    photos = tuple(file for file in files if file.suffix.lower() in SUFFIXES)
    films = sum(file.suffix.lower() in {*VIDEO_SUFFIXES, *RAW_SUFFIXES} for file in files)
    content = PhotoFiles(
        folder=place, photos=photos, films=films, others=len(files) - len(photos) - films
    )
    if not photos:
        others = f"other files: {content.others}" if content.others or films else "no files"
        raise BadImage(
            f"{place}: no photos in this folder or below it ({others}).\n"
            f"Files count if their names end in {', '.join(SUFFIXES)}."
            + (f"\n{content.films_remark}" if films else "")
        )
    return content


def list_photos(paths: Sequence[str | Path]) -> tuple[list[Path], list[str], list[BadImage]]:
    """Photos of files and folders in their order, what was left out, and what cannot be used.

    A folder stands for the photos below it, except those that were listed before; a file is taken
    as it is named, whatever it contains.
    """
    photos: list[Path] = []
    remarks: list[str] = []
    problems: list[BadImage] = []
    listed: set[str] = set()
    for path in map(Path, paths):
        if not os.path.isdir(path):  # also False for names that no file can have
            photos.append(path)
            listed.add(os.path.abspath(path))
            continue
        try:
            content = find_photos(path)
        except BadImage as problem:
            problems.append(problem)
            continue
        new = [file for file in content.photos if os.path.abspath(file) not in listed]
        photos += new
        listed.update(map(os.path.abspath, new))
        remarks += [content.remark] if content.remark else []
    return photos, remarks, problems
