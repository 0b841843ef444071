"""How the package is built, in figures: files, imports, circles, and names with two meanings.

    python scripts/house.py                    # of this tree, as a Markdown table
    python scripts/house.py TREE TREE ...      # a column for each tree, to compare
    python scripts/house.py --list             # also every case behind a figure, by name

Nothing is imported: the sources are read. ``tests/test_architecture.py`` checks the same figures.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
TOP = "crossview"
COUNTED_APART = {"datasets", "methods", "catalogue", "wiring", "demo", "cli"}  # their imports
# What ends like a participle, or is spelled like one, and is an imperative or a noun.
IMPERATIVES = {"embed", "feed", "need", "seed", "shed", "exceed", "proceed", "speed"}
NOUNS = {"bearing", "heading", "padding", "ring", "setting", "spacing", "string", "tiling"}
# What the page of a method or of a study's variant may offer, and pages outside the package do.
OF_A_PAGE = {"staged", "imported", "shown", "published"}
IRREGULAR = {
    "begun", "bound", "broken", "built", "drawn", "driven", "fed", "found", "given", "gone",
    "held", "hidden", "kept", "known", "laid", "left", "lost", "made", "met", "paid", "relaid",
    "said", "seen", "sent", "shown", "sought", "spent", "spoken", "stuck", "swept", "taken",
    "taught", "thought", "told", "torn", "undone", "worn", "woven", "written", "wrought",
}  # fmt: skip


@dataclass(frozen=True)
class Module:
    """One file: its dotted name, text and syntax tree."""

    name: str  # such as crossview.geo.points; of a package its own name
    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree of the file."""
        return ast.parse(self.text, filename=str(self.path))

    @property
    def base(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(".")[2]

    @property
    def room(self) -> str:
        """The folder or file of the package that it belongs to; "" of the package's own file."""
        return (*self.name.split("."), "")[1]

    @property
    def is_page(self) -> bool:
        """Whether it is the page of a method, or of a variant that a study composes."""
        return self.room == "methods" or self.base.endswith("_variant")

    @property
    def lines(self) -> int:
        """Lines of the file."""
        return len(self.text.splitlines())

    @property
    def import_lines(self) -> int:
        """Lines that import, those inside functions included."""
        kinds = (ast.Import, ast.ImportFrom)
        nodes = (node for node in ast.walk(self.tree) if isinstance(node, kinds))
        return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes)


class House:
    """All modules of a source tree, and what can be counted in them."""

    def __init__(self, root: Path = ROOT) -> None:
        source = root / "src"
        self.modules: dict[str, Module] = {}
        for path in sorted((source / TOP).rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            self.modules[name] = Module(name, path, path.read_text(encoding="utf-8"))

    # -- files and imports --

    @property
    def sizes(self) -> list[int]:
        """Lines of every file that has any."""
        return [module.lines for module in self.modules.values() if module.lines]

    def import_share(self) -> float:
        """Imports as a share of all lines, the catalogues, demo and cli left out."""
        counted = [m for m in self.modules.values() if m.room not in COUNTED_APART]
        return sum(m.import_lines for m in counted) / sum(m.lines for m in counted)

    def import_share_of_all(self) -> float:
        """Imports as a share of all lines of the package."""
        every = self.modules.values()
        return sum(m.import_lines for m in every) / sum(m.lines for m in every)

    def imports(self, module: Module) -> set[str]:
        """The modules of the package that a file imports, inside functions too.

        A name that is imported from a package counts as the module of that name, if there is one,
        else as the package. Where the package is imported by itself (``import crossview``), its
        ``__init__`` counts.
        """
        nearest = {self._nearest(n) for n in imported_names(module.path, ast.walk(module.tree))}
        return nearest - {"", module.name}

    def _nearest(self, dotted: str) -> str:
        """The longest beginning of a dotted name that is a module of the package, or ""."""
        while dotted and dotted not in self.modules:
            dotted = dotted.rpartition(".")[0]
        return dotted

    @cached_property
    def graph(self) -> dict[str, set[str]]:
        """What every module imports."""
        return {name: self.imports(module) for name, module in self.modules.items()}

    def circles(self) -> list[list[str]]:
        """Groups of files that import each other, directly or through others."""
        return sorted(sorted(g) for g in strong_components(self.graph) if len(g) > 1)

    def closure(self, name: str) -> set[str]:
        """A module and every file that it imports, directly or through others.

        Of packages on the way only those count whose ``__init__`` holds code.
        """
        todo, reached = [name], {name}
        while todo:
            for other in self.graph[todo.pop()] - reached:
                reached.add(other)
                todo.append(other)
        return {n for n in reached if self._says_something(self.modules[n])}

    def _says_something(self, module: Module) -> bool:
        if module.path.name != "__init__.py":
            return True
        return any(not isinstance(node, ast.Expr) for node in module.tree.body)

    def pages(self) -> dict[str, int]:
        """Files in the closure of each method's page, itself included."""
        pages = [m for m in self.modules.values() if m.name.startswith(f"{TOP}.methods.")]
        names = [m.name for m in pages if not m.base.startswith("_") and m.base != "api"]
        return {name.rpartition(".")[2]: len(self.closure(name)) for name in names}

    # -- names --

    def rooms(self) -> set[str]:
        """Names of the rooms: folders and files directly below the package."""
        return {m.room for m in self.modules.values() if m.room}

    def base_names(self) -> dict[str, list[str]]:
        """Base names of modules that stand in several rooms, with their modules.

        A file that is named like a room (verbs of cli apart) counts, too.
        """
        where = defaultdict(list)
        for module in self.modules.values():
            if module.path.name != "__init__.py" and module.base != "__main__":
                where[module.base].append(module.name)
        for room in self.rooms():
            if f"{TOP}.{room}" not in where.get(room, ()):
                where[room].append(f"{TOP}.{room}")
        return {base: names for base, names in sorted(where.items()) if self._clash(names)}

    @staticmethod
    def _clash(names: list[str]) -> bool:
        return len([n for n in names if not n.startswith(f"{TOP}.cli.")]) > 1

    def class_names(self) -> dict[str, list[str]]:
        """Public classes of one name in several modules; Config of methods left out."""
        where = defaultdict(list)
        for module in self.modules.values():
            for node in module.tree.body:
                of_method = module.is_page and getattr(node, "name", "") == "Config"
                if isinstance(node, ast.ClassDef) and node.name[0] != "_" and not of_method:
                    where[node.name].append(module.name)
        return {name: modules for name, modules in sorted(where.items()) if len(modules) > 1}

    def functions(self) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        """Module and definition of every public function and method; properties left out."""
        for module in self.modules.values():
            for node in module.tree.body:
                body = node.body if isinstance(node, ast.ClassDef) else [node]
                if isinstance(node, ast.ClassDef) and node.name.startswith("_"):
                    continue
                for inner in body:
                    if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                        continue
                    if not inner.name.startswith("_") and not _is_property(inner):
                        yield module.name, inner

    def participles(self) -> list[str]:
        """Public functions that are named by a participle.

        Left out are those that say yes or no, and what a ``with`` does (as ``contextlib.closing``).
        """
        return sorted(
            f"{module}.{node.name}"
            for module, node in self.functions()
            if is_participle(node.name.partition("_")[0])
            and not (self.modules[module].is_page and node.name in OF_A_PAGE)
            and not (node.returns and ast.unparse(node.returns).startswith(("bool", "TypeGuard")))
            and not (node.name.partition("_")[0].endswith("ing") and _is_context_manager(node))
        )

    def aliases(self) -> dict[str, dict[str, list[str]]]:
        """Names of types that stand for several types, with the modules of each."""
        where: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for module in self.modules.values():
            for name, value in _type_aliases(module.tree):
                where[name][ast.unparse(value)].append(module.name)
        return {n: dict(types) for n, types in sorted(where.items()) if len(types) > 1}

    def array_aliases(self) -> list[str]:
        """Other names for types of numpy arrays outside of ``arrays.py``."""
        arrays = self.modules.get(f"{TOP}.arrays")
        names = {name for name, _ in _type_aliases(arrays.tree)} if arrays else set()
        return sorted(
            f"{module.name}.{target.id}"
            for module in self.modules.values()
            if module is not arrays
            for node in module.tree.body
            if isinstance(node, ast.Assign)
            and isinstance(target := node.targets[0], ast.Name)
            and (text := ast.unparse(node.value)).startswith("NDArray[") | (text in names)
        )


def imported_names(path: Path, nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Dotted names of everything imported, relative imports resolved; `from a import b` is a.b."""
    parts = path.parent.parts
    here = list(parts[len(parts) - parts[::-1].index(TOP) - 1 :]) if TOP in parts else []
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def on_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the file is imported: no function bodies, nothing for type checkers only."""
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not typing_only and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from on_import(child)


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    names = [ast.unparse(d) for d in node.decorator_list]
    return any(n.endswith(("property", ".setter", "overload")) for n in names)


def _is_context_manager(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(d).endswith("contextmanager") for d in node.decorator_list)


def _type_aliases(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """``Name = type`` and ``type Name = ...`` at the top of a file."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
            if "TypeAlias" not in ast.unparse(node.annotation):
                continue
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
            if not _is_type(value):
                continue
        elif isinstance(node, getattr(ast, "TypeAlias", ())):
            target, value = node.name, node.value
        else:
            continue
        if isinstance(target, ast.Name) and target.id[:1].isupper() and not target.id.isupper():
            yield target.id, value


def _is_type(value: ast.expr) -> bool:
    """Whether an expression can only be meant as a type: subscripts and unions of names."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
        return True
    return isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name | ast.Attribute)


def is_participle(word: str) -> bool:
    """Whether a word is a participle; imperatives and nouns that end like one are not."""
    if word in IMPERATIVES | NOUNS:
        return False
    ends = word.endswith(("ed", "ing")) and len(word) > 4
    return ends or word in IRREGULAR


def strong_components(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Groups of nodes that reach each other (Tarjan, without recursion)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[set[str]] = []
    for start in graph:
        if start in order:
            continue
        order[start] = low[start] = len(order)
        stack.append(start)
        work = [(start, iter(sorted(graph[start])))]
        while work:
            node, rest = work[-1]
            for other in rest:
                if other not in order:
                    order[other] = low[other] = len(order)
                    stack.append(other)
                    work.append((other, iter(sorted(graph[other]))))
                    break
                if other in stack:
                    low[node] = min(low[node], order[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    at = stack.index(node)
                    groups.append(set(stack[at:]))
                    del stack[at:]
    return groups


def figures(house: House) -> dict[str, str]:
    """The rows of the table."""
    circles = house.circles()
    return {
        "Python files": str(len(house.modules)),
        "median lines": f"{median(house.sizes):g}",
        "largest file, lines": str(max(house.sizes)),
        "lines in all": str(sum(house.sizes)),
        "imports, share of lines (catalogues, demo, cli apart)": f"{house.import_share():.1%}",
        "imports, share of all lines": f"{house.import_share_of_all():.1%}",
        "circles between files (files in them)": f"{len(circles)} ({sum(map(len, circles))})",
        "module names with two meanings": str(len(house.base_names())),
        "class names with two meanings": str(len(house.class_names())),
        "public functions that are participles": str(len(house.participles())),
        "aliases of one name with two types": str(len(house.aliases())),
        "aliases of array types outside of arrays": str(len(house.array_aliases())),
        **{f"files behind the page {name}": str(n) for name, n in house.pages().items()},
    }


def cases(house: House) -> Iterator[str]:
    """Every case behind a figure."""
    yield from (f"circle: {', '.join(group)}" for group in house.circles())
    yield from (f"module name {n}: {', '.join(w)}" for n, w in house.base_names().items())
    yield from (f"class name {n}: {', '.join(w)}" for n, w in house.class_names().items())
    yield from (f"participle: {name}" for name in house.participles())
    yield from (f"alias {n}: {'; '.join(types)}" for n, types in house.aliases().items())
    yield from (f"array alias: {name}" for name in house.array_aliases())


def main(arguments: list[str]) -> None:
    """Print the table of some trees, and with --list the cases behind it."""
    trees = [Path(a) for a in arguments if not a.startswith("--")] or [ROOT]
    houses = {tree.resolve().name: House(tree) for tree in trees}
    columns = [figures(house) for house in houses.values()]
    rows = list(dict.fromkeys(row for column in columns for row in column))
    print("| | " + " | ".join(houses) + " |\n|---|" + "---|" * len(houses))
    for row in rows:
        print(f"| {row} | " + " | ".join(column.get(row, "-") for column in columns) + " |")
    if "--list" in arguments:
        for name, house in houses.items():
            print(f"\n{name}:", *cases(house), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
