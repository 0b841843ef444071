"""What all reports look like: one page, its style and script in it, that fetches nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from crossview.texts import get_language, phrase


def render_frame(template: str, tools: Mapping[str, Any], **content: Any) -> str:
    """A page of ``templates``, of the language that is spoken; ``tools`` are for all of its parts.

    Text is escaped, a missing value is an error, and no script runs but that of reports.
    """
    environment = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"phrase": phrase, "language": get_language(), **tools}
    script = _read_file("report.js")
    return environment.get_template(template).render(
        **content,
        style=_read_file("report.css"),
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _read_file(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")
