"""Loading a method's page by module name or file, the same way in every process."""

from __future__ import annotations

import ast
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

    def read_title(self) -> str:
        """The first line of the page's docstring, without the full stop; nothing of it runs."""
        return (ast.get_docstring(self._parse()) or "").partition("\n")[0].removesuffix(".")

    def read_literal(self, name: str, default: Any = None) -> Any:
        """What the page binds to ``name``, read from its text: nothing of it runs or is imported.

        InvalidValue where that is no literal, because it has to be computed.
        """
        bound: dict[str, ast.expr] = {}
        for statement in self._parse().body:
            match statement:
                case (
                    ast.Assign(targets=[ast.Name(id=known)], value=ast.expr() as value)
                    | ast.AnnAssign(target=ast.Name(id=known), value=ast.expr() as value)
                ):
                    bound[known] = value
        try:
            return ast.literal_eval(bound[name]) if name in bound else default
        except (ValueError, TypeError) as problem:
            raise InvalidValue(
                f"{name} of {self.file or self.module} cannot be read without running the page.\n"
                "Write its values out: numbers, texts, tuples and dictionaries of them."
            ) from problem

    def _parse(self) -> ast.Module:
        """The page's text; one that cannot be read or parsed counts as empty: loading tells why."""
        try:
            if self.file is not None:
                return ast.parse(self.file.read_bytes())
            spec = importlib.util.find_spec(self.module)
            return ast.parse(spec.loader.get_source(self.module) or "")  # type: ignore[union-attr]
        except (OSError, ValueError, SyntaxError):
            return ast.Module(body=[], type_ignores=[])

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
