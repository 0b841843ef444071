"""Docstrings as the site shows them: Sphinx roles such as ``:class:`Batch``` become plain code."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):(?=`)")


class DocstringRoles(Extension):
    """Of every object that mkdocstrings reads."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring in memory; no file is written."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub("", obj.docstring.value)
