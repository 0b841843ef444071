"""What the test of a method tells the suites over all methods.

``tests/methods/test_NAME.py`` of a page ``NAME.py`` binds, at its top:

``TINY``         settings that make the page small enough for a test; everything else as it is.
``LEARNING``     settings with which it learns the small town; needless where those of the contract
                 suite do.
``RELEASES``     every recipe by name: what the authors' scripts say, with which a test compares it.
``CHECKPOINTS``  the files of ``shared/parity/checkpoints`` that its authors' code wrote, by name:
                 :class:`tests.methods.checkpoints.Published`; None where tests of its own read it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from crossview.catalogue import METHODS


def ask(method: str, name: str) -> dict[str, Any]:
    """One of the tables above; empty where the method's test has none."""
    module = METHODS[method].rpartition(".")[2]
    told: dict[str, Any] = getattr(import_module(f"tests.methods.test_{module}"), name, {})
    return told
