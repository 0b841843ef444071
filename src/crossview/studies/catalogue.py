"""All studies by name."""

from __future__ import annotations

from crossview.errors import match_name
from crossview.studies import fields, geodtr, singeo
from crossview.studies.definitions import Study

STUDIES: dict[str, Study] = {
    study.name: study for study in (*geodtr.STUDIES, *singeo.STUDIES, *fields.STUDIES)
}


def study(name: str) -> Study:
    """The study of that name; UnknownName suggests the nearest one."""
    return STUDIES[match_name("study", name, STUDIES)]
