"""Reading a map page back: its data blocks, and whatever in it could ask for something else."""

from __future__ import annotations

import json
from html.parser import HTMLParser


class Page(HTMLParser):
    """Elements and data of a page's HTML text."""

    def __init__(self, text):
        super().__init__()
        self.text, self.elements, self.blocks, self._inside = text, [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = dict(attributes).get("id") if tag == "script" else None

    def handle_data(self, data):
        if self._inside:
            self.blocks[self._inside] = self.blocks.get(self._inside, "") + data

    @property
    def facts(self):
        return json.loads(self.blocks["facts"])

    @property
    def pictures(self):
        return json.loads(self.blocks["pictures"])

    def values(self, *names):
        """All values of attributes with one of these names."""
        return [v for _, given in self.elements for name, v in given.items() if name in names]


def read_page(path):
    return Page(path.read_text(encoding="utf-8"))
