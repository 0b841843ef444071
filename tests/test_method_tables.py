"""What documents say of all methods is made of their pages, and a method takes three files."""

from __future__ import annotations

import pytest
from scripts.method_tables import MADE, ROOT, Field, main, renew


@pytest.mark.parametrize("name", MADE)
def test_the_tables_of_methods_are_those_of_their_pages(name):
    before, after = renew(ROOT, name)
    assert before == after, f"{name} is stale: run make tables"


def test_pages_reproduce_no_rows_but_published_ones():
    assert Field(ROOT).list_unknown() == []
    assert main(["--check"]) == 0
