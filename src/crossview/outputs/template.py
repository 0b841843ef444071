"""One HTML file out of a template, scripts, styles and data, with nothing left to fetch.

Text from outside enters only as JSON (escaped so that it cannot end its element) or through
``html.escape``; the page's own script reads the JSON and writes it as text nodes. A content
security policy forbids every request and every script but the ones counted in by their hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

SCRIPTS = (
    "answers/state.js", "shared/dom.js", "shared/angles.js", "answers/heat.js", "answers/atlas.js",
    "answers/disc.js", "answers/sheet.js", "answers/list.js", "answers/main.js",
)  # fmt: skip
STYLES = ("shared/theme.css", "answers/page.css", "answers/sheet.css")
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
_SLOT = re.compile(r"<!--crossview:(\w+)-->")


def page_html(static: Mapping[str, str], data: Mapping[str, Any]) -> str:
    """The whole page. ``static`` fills the template's slots (HTML, escaped by the caller).

    Each entry of ``data`` becomes a JSON block whose element has the entry's name as its id.
    """
    scripts = [_vendored_script(), _own_script()]
    slots = {
        **static,
        "policy": _policy(scripts),
        "styles": "".join(f"<style>{style}</style>\n" for style in _all_styles()),
        "data": "".join(_block(name, value) for name, value in data.items()),
        "scripts": "".join(f"<script>{script}</script>\n" for script in scripts),
    }
    return _SLOT.sub(lambda slot: slots[slot[1]], _text("answers/page.html"))


def embedded_json(value: Any) -> str:
    """Strict ASCII JSON that can stand inside a script element: no ``<``, ``>`` or ``&``."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda found: _ESCAPES[found[0]], text)


def _block(name: str, value: Any) -> str:
    return f'<script type="application/json" id="{name}">{embedded_json(value)}</script>\n'


def _policy(scripts: list[str]) -> str:
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {hashes}; base-uri 'none'; form-action 'none'"
    )


def _vendored_script() -> str:
    """Leaflet as its authors minified it, with its licence, without the pointer to a source map."""
    script = re.sub(r"//# sourceMappingURL=\S+", "", _text("vendor/leaflet.js"))
    return f"/*\n{_text('vendor/leaflet.LICENSE')}*/\n{script}"


def _own_script() -> str:
    modules = "\n".join(_text(name) for name in SCRIPTS)
    body = re.sub(r"(?m)^(import .*\n|export )", "", modules)  # here they share one scope
    return f'"use strict";\n(() => {{\n{body}\n}})();\n'


def _all_styles() -> list[str]:
    """Leaflet's style first; its pictures are not used and would be requests."""
    leaflet = re.sub(r"url\([^)]*\)", "none", _text("vendor/leaflet.css"))
    leaflet = re.sub(r"(?s)/\*.*?\*/", "", leaflet)
    return [leaflet, *(_text(name) for name in STYLES)]


def _text(name: str) -> str:
    return (files("crossview.web") / name).read_text(encoding="utf-8")
