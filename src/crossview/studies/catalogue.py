"""All studies by name."""

from __future__ import annotations

from crossview.errors import UnknownName
from crossview.studies import fields, geodtr, singeo
from crossview.studies.definitions import Study

STUDIES: dict[str, Study] = {
    study.name: study for study in (*geodtr.STUDIES, *singeo.STUDIES, *fields.STUDIES)
}


def study(name: str) -> Study:
    """The study of that name; UnknownName suggests the nearest one."""
    if name not in STUDIES:
        raise UnknownName("study", name, STUDIES)
    return STUDIES[name]
