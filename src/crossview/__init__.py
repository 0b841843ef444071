"""crossview: where on the map was this picture taken, from imagery seen from above."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossview.index.store import Index

__version__ = "0.1.0"
__all__ = ["Index", "__version__"]


def __getattr__(name: str) -> Any:
    """``crossview.Index``, loaded when first used: ``import crossview`` stays light."""
    if name != "Index":
        raise AttributeError(f"module 'crossview' has no attribute {name!r}")
    from crossview.index.store import Index

    return Index
