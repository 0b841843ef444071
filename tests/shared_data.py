"""Where the real pictures are that some tests read; they are not part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared"


def shared(*parts: str) -> Path:
    """A path under the shared folder, as ``shared("data", "helsinki")``; skips where it is absent.

    The folder is ``../shared`` beside the checkout, or the environment variable CROSSVIEW_SHARED.
    """
    root = Path(os.environ.get("CROSSVIEW_SHARED") or BESIDE_THE_CHECKOUT)
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(
            f"needs shared/{'/'.join(parts)}: put it beside the checkout or set CROSSVIEW_SHARED",
            allow_module_level=True,
        )
    return path
