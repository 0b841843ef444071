"""Loading a method's page by module name or file, the same way in every process."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from crossview.errors import CrossviewError, InvalidValue


@dataclass(frozen=True)
class PageRef:
    """Where a page lives: a module name of the package, or a file of the user's own."""

    module: str
    file: Path | None = None

    @staticmethod
    def of_file(path: Path) -> PageRef:
        """A page outside the package; its module name is derived from the resolved path."""
        file = path.resolve()
        digest = hashlib.sha256(str(file).encode()).hexdigest()[:12]
        return PageRef(f"crossview_page_{digest}", file)

    @property
    def digest(self) -> str:
        """12 hex digits of the sha256 of a page outside the package; "" for one of the package."""
        if self.file is None:
            return ""
        try:
            return hashlib.sha256(self.file.read_bytes()).hexdigest()[:12]
        except OSError as problem:
            raise InvalidValue(f"{self.file} cannot be read: {problem.strerror}.") from problem

    def load(self) -> Any:
        """The module; a file is executed once per process."""
        if self.file is None:
            return importlib.import_module(self.module)
        return sys.modules.get(self.module) or _execute(self.module, self.file)


def _execute(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise InvalidValue(f"No method page at {file}; a page is a Python file (.py).")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look the module up by name
    try:
        spec.loader.exec_module(module)
    except CrossviewError:
        del sys.modules[name]
        raise
    except Exception as problem:  # anything may happen in a user's file
        del sys.modules[name]
        raise InvalidValue(
            f"The method page {file} cannot be loaded: {type(problem).__name__}: {problem}"
        ) from problem
    return module
