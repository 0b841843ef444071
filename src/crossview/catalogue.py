"""Names to objects: the only module that knows every method and every data set."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from crossview import methods
from crossview.datasets.pair_lists import PARQUET_SUFFIXES
from crossview.errors import BadData, BadModel, InvalidValue, UnknownName, match_name
from crossview.files import printable
from crossview.pairs.official_lists import Counts, Part, compare_counts
from crossview.pairs.page_ref import PageRef
from crossview.pairs.table import Framing, frame_views, join_tables, restore_views
from crossview.schema import check, read_object

if TYPE_CHECKING:
    from crossview.evaluation.task import Rules
    from crossview.hub import PublishedCheckpoint
    from crossview.pairs.batch import Views
    from crossview.pairs.table import PairTable
    from crossview.training.import_weights import KnownNetwork
    from crossview.training.run_folder import RunFolder
    from crossview.views.spec import ViewSpec

METHODS = {  # every page: a file of crossview.methods, but for api, which is what pages import
    name.replace("_", "-"): f"{methods.__name__}.{name}"
    for name in sorted(module.name for module in pkgutil.iter_modules(methods.__path__))
    if not name.startswith("_") and name != "api"
}
VARIANTS = {  # what studies and baselines vary of a method: pages of their own, with more settings
    "congeo": "crossview.studies.congeo_variant",
    "geodtr-plus": "crossview.studies.geodtr_plus_variant",
    "sample4geo": "crossview.studies.sample4geo_variant",
    "singeo": "crossview.studies.singeo_variant",
}
SET_BY_BATCH = ("now_theta_deg", "now_keep", "now_phi_deg")  # of old runs; no batch used them
BENCHMARKS: dict[str, tuple[str, dict[str, Any]]] = {  # name: page, what load is told
    "cvusa": ("crossview.datasets.cvusa", {}),
    "cvusa-cleaned": ("crossview.datasets.cvusa", {"cleaned": True}),
    "cvact": ("crossview.datasets.cvact", {}),
    "vigor-same": ("crossview.datasets.vigor", {"area": "same"}),
    "vigor-cross": ("crossview.datasets.vigor", {"area": "cross"}),
    "vigor-same-corrected": ("crossview.datasets.vigor", {"area": "same", "corrected": True}),
    "vigor-cross-corrected": ("crossview.datasets.vigor", {"area": "cross", "corrected": True}),
    **{
        f"university-1652{name}": (
            "crossview.datasets.university",
            {"query": query, "reference": reference},
        )
        for name, query, reference in (
            ("", "drone", "satellite"),
            ("-satellite-to-drone", "satellite", "drone"),
            ("-street-to-satellite", "street", "satellite"),
            ("-satellite-to-street", "satellite", "street"),
            ("-street-to-drone", "street", "drone"),
            ("-drone-to-street", "drone", "street"),
        )
    },
}
DATASETS = ("pairs", "town", *BENCHMARKS)
TABLES = (".csv", *PARQUET_SUFFIXES)
DRAPED_LICENCE = "rendered by crossview over orthophotos, whose owners' licences apply"
RENDERED_LICENCE = "Apache-2.0, like crossview: every picture was rendered by it"
_SYNTHETIC_SHARE = 0.5  # of rendered pictures, from which on a data set counts as no Earth
INFO_KEYS = ("synthetic", "training_data", "licence", "notes")
PAIRS_KEYS = (*INFO_KEYS, "keep_rows")  # of the file beside a table of pairs


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set by name: its tables, and what is known of it."""

    name: str  # as given, the data set's name as this module writes it
    tables: Mapping[str, PairTable]  # by split
    info: Mapping[str, Any]  # INFO_KEYS: carried into the exported model
    differs: tuple[str, ...] = ()  # where its numbers are not the official ones
    notes: tuple[str, ...] = ()  # what its table does not say and was taken from the pictures

    def table(self, split: str) -> PairTable:
        """The table of a split; BadData that names those there are."""
        if split not in self.tables:
            raise BadData(
                f"{self.name} has no split {split!r}; it has {', '.join(self.tables)}.\n"
                "Choose one with --split."
            )
        return self.tables[split]


def recipes(method: str) -> dict[str, dict[str, Any]]:
    """Named full-size settings of a method, such as those published for a data set.

    They are the page's ``RECIPES``, read without running it.
    """
    settings_by_name: dict[str, dict[str, Any]] = method_page(method).read_literal("RECIPES", {})
    return settings_by_name


def recipe(method: str, name: str) -> dict[str, Any]:
    """One of :func:`recipes` by its name; UnknownName lists them."""
    settings_by_name = recipes(method)
    return settings_by_name[match_name(f"recipe of {method}", name, settings_by_name)]


def find_published(method: str, data: str) -> dict[str, Any] | None:
    """The recipe for a data set, ``NAME`` or ``NAME:ROOT``: its own, or that of its family.

    "vigor-cross" and "vigor-same" share "vigor". None: the method has none for it.
    """
    settings_by_name = recipes(method)
    name = data.partition(":")[0].strip().casefold()
    return settings_by_name.get(name, settings_by_name.get(_family(name)))


def method_name(name: str) -> str:
    """The name of a method as this module writes it; a path stays as it is."""
    return name if _is_path(name) else match_name("method", name, METHODS)


def method_page(name: str) -> PageRef:
    """A page by name, or by path (``./mine.py``)."""
    if _is_path(name):
        path = Path(name).expanduser()
        if not path.is_file():
            raise InvalidValue(f"No method page at {name}.\nNames: {', '.join(METHODS)}.")
        return PageRef.of_file(path)
    return PageRef(METHODS[method_name(name)])


def list_known_networks() -> tuple[KnownNetwork, ...]:
    """Whose tensors are known by their names: the pages that offer ``TENSORS``."""
    from crossview.training.import_weights import KnownNetwork

    return tuple(
        KnownNetwork(name=_name_paper(method), method=method, tensors=pattern)
        for method, module in METHODS.items()
        if (pattern := getattr(PageRef(module).load(), "TENSORS", ""))
    )


def list_published_weights() -> tuple[PublishedCheckpoint, ...]:
    """Checkpoints that others have published; first those that pages read (``CHECKPOINT``)."""
    from crossview.hub import PublishedCheckpoint, read_published

    own = []
    for method, module in METHODS.items():
        if row := PageRef(module).read_literal("CHECKPOINT"):
            named = {"name": _name_paper(method), "method": method, **row}
            own.append(check(PublishedCheckpoint, named))
    return (*own, *read_published())


def _name_paper(method: str) -> str:
    """What its paper calls it: "GeoDTR+"."""
    return method_page(method).read_title().partition(":")[0]


def configure(method: str, settings: Mapping[str, Any]) -> tuple[PageRef, Any]:
    """The page that these settings of a method belong to, and its Config of them.

    A method of the catalogue is the page of its paper. Settings beyond the paper's are those of its
    variant, if it has one (``VARIANTS``). Where they come to the same as the paper's, as in runs
    from before there were variants, it is the paper's page again. Settings that neither has, and
    values that they do not take, raise UnknownName and InvalidValue.
    """
    ref = method_page(method)
    page = ref.load()
    variant = VARIANTS.get(method_name(method))
    if variant is None:
        return ref, make_config(page, settings)
    settings = {name: value for name, value in settings.items() if name not in SET_BY_BATCH}
    with suppress(UnknownName, InvalidValue):
        return ref, make_config(page, settings)
    varied = PageRef(variant)
    config = make_config(varied.load(), settings)
    published_settings = varied.load().published(config)
    if published_settings is None:
        return varied, config
    return ref, make_config(page, published_settings)


def setting_names(method: str) -> set[str]:
    """All settings that a method can have, those of its variant included."""
    module = VARIANTS.get(method_name(method))
    page = PageRef(module) if module else method_page(method)
    return {field.name for field in fields(page.load().Config)}


def renew_settings(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a run of a method, as a run of today would note them.

    ``keep_rows``, a setting before framing was a matter of data sets, is left for who compares it.
    """
    if VARIANTS.get(method_name(method)) is None:
        return {**asdict(method_page(method).load().Config()), **settings}
    framing_before = {name: settings[name] for name in ("keep_rows",) if name in settings}
    settings_of_today = {
        name: value for name, value in settings.items() if name not in framing_before
    }
    return {**asdict(configure(method, settings_of_today)[1]), **framing_before}


def _is_path(name: str) -> bool:
    return name.endswith(".py") or "/" in name or "\\" in name


def _family(name: str) -> str:
    """What names of one data set begin with: "vigor" of "vigor-cross-corrected"."""
    return name.partition("-")[0]


@dataclass(frozen=True)
class Benchmark:
    """An official data set: its page, and what the page is told for this name."""

    name: str
    page: Any
    options: Mapping[str, Any]

    def load(self, root: Path, *, check_files: bool = True) -> dict[str, PairTable]:
        """The tables by split."""
        tables: dict[str, PairTable] = self.page.load(root, check_files=check_files, **self.options)
        return tables

    def counts(self) -> dict[str, Counts]:
        """The official numbers by split."""
        official: dict[str, Counts] = self.page.list_counts(**self.options)
        return official

    def layout(self, root: Path) -> list[Part]:
        """The lists and folders that it consists of."""
        parts: list[Part] = self.page.list_layout(root, **self.options)
        return parts


def benchmark(name: str) -> Benchmark:
    """An official data set by name."""
    name = match_name("data set", name, BENCHMARKS)
    module, options = BENCHMARKS[name]
    return Benchmark(name, PageRef(module).load(), options)


def find_framing(name: str) -> Framing | None:
    """What the files of an official data set show, by its name or that of a recipe for it.

    None: no official data set.
    """
    family = _family(name.partition(":")[0].strip().casefold())
    pages = {module for data_set, (module, _) in BENCHMARKS.items() if _family(data_set) == family}
    if not pages:
        return None
    shown: Framing = PageRef(pages.pop()).load().FRAMING
    return shown


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """What is known of weights from the data that they saw."""

    name: str  # of the data set; pairs:FILE
    framing: Framing
    published: Mapping[str, Any] | None  # settings of the method for it; None: it has none
    synthetic: bool = False  # rendered, not of Earth


def find_trained_on(method: str, data: str) -> TrainedOn:
    """By a data set's name, that of a recipe for it, town, or ``pairs:FILE``; or UnknownName."""
    from crossview.pairs.reading import measure_framing

    kind = data.partition(":")[0].strip().casefold()
    if kind == "pairs" or data.lower().endswith(TABLES):
        source = open_data(data, check_files=False)
        table = source.tables.get("train") or next(iter(source.tables.values()))
        synthetic = bool(source.info["synthetic"])
        return TrainedOn(
            name=source.name, framing=measure_framing(table), published={}, synthetic=synthetic
        )
    if kind == "town":
        return TrainedOn(name=data_name(data), framing=Framing(), published={}, synthetic=True)
    names = dict.fromkeys((*BENCHMARKS, *recipes(method), "town", "pairs:FILE"))
    name = match_name("data set", kind, names)
    settings, shown = find_published(method, name), find_framing(name)
    return TrainedOn(name=_of_recipe(name), framing=shown or Framing(), published=settings)


def _of_recipe(name: str) -> str:
    """The data set of a recipe: "cvusa" of "cvusa-plain"; where a family has several, the recipe.

    The directions of University-1652 train on the same pictures and are one.
    """
    family = [data_set for data_set in BENCHMARKS if _family(data_set) == _family(name)]
    first = min(family, key=len, default=name)
    return (
        first
        if name not in family and all(data_set.startswith(first) for data_set in family)
        else name
    )


def data_name(data: str) -> str:
    """``NAME:ROOT`` with the data set's name as this module writes it; else a path of a table."""
    kind, colon, root = data.partition(":")
    if kind.strip().casefold() not in DATASETS and data.lower().endswith(TABLES):
        return data
    return f"{match_name('data set', kind, DATASETS)}{colon}{root}"


def open_data(name: str, *, check_files: bool = True) -> Data:
    """``NAME:ROOT`` of a benchmark, ``pairs:FILE`` (or just ``FILE.csv``), ``town[:FOLDER]``.

    Every picture that a benchmark's lists name must be there, unless ``check_files`` is False. A
    file ``pairs.json`` beside a table of pairs may say what the pictures are: ``training_data`` and
    ``licence`` (sentences), ``synthetic`` (true for pictures that are not of Earth), ``notes``, and
    ``keep_rows`` (two shares of the height, between which panoramas are taken).
    """
    name = data_name(name)
    kind, _, root = name.partition(":")
    if kind not in DATASETS:
        kind, root = "pairs", name
    if kind != "town" and not root:
        where = "path/to/pairs.csv" if kind == "pairs" else "path/to/its/folder"
        raise InvalidValue(f"Data {kind!r} needs a place, as in --data {kind}:{where}")
    path = Path(root).expanduser()
    if kind in BENCHMARKS:
        return _benchmark_data(name, benchmark(kind), path, check_files)
    from crossview.datasets import pair_lists

    if kind == "town":
        from crossview.worlds.town_pairs import ensure_pairs

        path = ensure_pairs(Path(root or "town-data").expanduser())
    elif path.is_dir():
        path = path / "pairs.csv"
    info = _info(path, kind)
    framing_beside = _rows_beside(path, info.pop("keep_rows", None))
    loaded, notes = pair_lists.load_with_notes(path)
    tables = {split: replace(table, framing=framing_beside) for split, table in loaded.items()}
    return Data(name=name, tables=tables, info=_with_marks(info, tables), notes=notes)


def open_parts(names: Sequence[str], *, check_files: bool = True) -> Data:
    """Several data sets as one, whose tables remember by ``part`` from which each row came.

    A part may be several lists of pairs joined by commas: ``pairs:A.csv,B.csv``. Every split that
    any of them has is joined of those that have it. What is joined counts as synthetic if all of
    it is.
    """
    return _join([_open_part(name, check_files) for name in names])


def _open_part(name: str, check_files: bool) -> Data:
    """One data set; lists joined by commas are one part."""
    kind, _, root = name.partition(":")
    if "," not in root or Path(root).expanduser().exists():
        return open_data(name, check_files=check_files)
    several = [open_data(f"{kind}:{one}", check_files=check_files) for one in root.split(",")]
    return replace(_join(several, as_parts=False), name=data_name(name))


def _join(parts: Sequence[Data], *, as_parts: bool = True) -> Data:
    if len(parts) == 1:
        return parts[0]
    splits = dict.fromkeys(split for part in parts for split in part.tables)
    tables = {
        split: join_tables(
            [part.tables[split] for part in parts if split in part.tables], as_parts=as_parts
        )
        for split in splits
    }
    return Data(
        name=" + ".join(part.name for part in parts),
        tables=tables,
        info=_join_infos([part.info for part in parts]),
        differs=tuple(dict.fromkeys(text for part in parts for text in part.differs)),
        notes=tuple(dict.fromkeys(text for part in parts for text in part.notes)),
    )


def _join_infos(infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {
        key: "; ".join(dict.fromkeys(str(info[key]) for info in infos if info.get(key)))
        for key in ("training_data", "licence", "notes")
    }
    return {**joined, "synthetic": all(info["synthetic"] for info in infos)}


def _benchmark_data(name: str, official: Benchmark, root: Path, check_files: bool) -> Data:
    if not root.is_dir():
        raise BadData(
            f"No folder {root} with {official.name}.\n"
            "How to get it and what it should look like: docs/datasets.md"
        )
    tables = official.load(root, check_files=check_files)
    info = {
        "training_data": official.name,
        "licence": f"pictures: {official.page.LICENCE}",
        "synthetic": False,
    }
    differs = tuple(compare_counts(tables, official.counts()))
    return Data(name=name, tables=tables, info=_with_marks(info, tables), differs=differs)


def rules(data: str) -> Rules:
    """How a data set counts: VIGOR's near-misses as wrong, University-1652 with its precision."""
    from crossview.evaluation.task import Rules

    kind = data.partition(":")[0].strip().casefold()
    return Rules(
        near_counts=kind.startswith("vigor"), average_precision=kind.startswith("university")
    )


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder, opened: its method's page, the settings, and what its network sees."""

    folder: RunFolder
    method: str
    page: Any
    config: Any
    views: Views
    record: Mapping[str, Any]  # config.json
    notes: tuple[str, ...] = ()  # where the page is not the one that the run was made with

    def frame(self, table: PairTable, data: str) -> PairTable:
        """As :func:`frame_for_model` for the network of this run."""
        return frame_for_model(table, data, self.views.ground, str(self.record["data"]))


def open_run(path: Path, method: str | None = None) -> Run:
    """Open a run folder of ``crossview train`` or ``import``; BadModel if it is none.

    ``method``: the page, by name or by file. A page from outside the package is code, and a run
    folder may be a stranger's: it is loaded only if the caller names it here, else InvalidValue.
    Folders from before framing was a matter of data sets tell in their settings which rows of a
    panorama they were trained on.
    """
    from crossview.training.run_folder import RunFolder

    folder = RunFolder(path)
    record = folder.config()
    if absent := [name for name in ("method", "config", "data") if name not in record]:
        raise BadModel(
            f"{path}: config.json lacks {', '.join(absent)}; it is no run of crossview.\n"
            "Make one with: crossview train, or crossview import"
        )
    for name, kind in (("method", str), ("config", dict), ("data", str)):
        if not isinstance(record[name], kind):
            raise BadModel(f"{path}: config.json is damaged: {name} is {record[name]!r}.")
    ref, notes = _find_page(path, record, method)
    page = ref.load()
    settings = dict(record["config"])
    rows = settings.pop("keep_rows", None) if not hasattr(page.Config(), "keep_rows") else None
    if ref.module in METHODS.values():
        ref, config = configure(_name_of_page(ref), settings)
        page = ref.load()
    else:
        config = make_config(page, settings)
    views: Views = page.views(config)
    if "framing" in record:
        views = restore_views(views, record["framing"])
    else:
        views = _restore_framing(views, str(record["data"]), settings, rows)
    return Run(
        folder=folder,
        method=method or str(record["method"]),
        page=page,
        config=config,
        views=views,
        record=record,
        notes=notes,
    )


def _name_of_page(ref: PageRef) -> str:
    return next(name for name, module in METHODS.items() if module == ref.module)


def _find_page(
    path: Path, record: Mapping[str, Any], method: str | None
) -> tuple[PageRef, tuple[str, ...]]:
    """The page of a run, and in words where it is not the one that the run was made with."""
    made_with = str(record["method"])
    if method is None and _is_path(made_with):
        raise InvalidValue(
            f"{path} names a method page from outside of crossview, {printable(made_with)!r}: it "
            "is code, and runs only if you name it.\n"
            f"If you trust that file, add --method FILE ({len(METHODS)} methods need none: "
            f"{', '.join(METHODS)})."
        )
    ref = method_page(made_with if method is None else method)
    then = str(record.get("page", ""))  # "": not noted by whoever made the run
    if _is_path(made_with):
        same = ref.digest in ({then} if then else {ref.digest} - {""})
    else:
        same = ref.module == METHODS.get(made_with.strip().casefold())
    if same:
        return ref, ()
    now = f"{method} (sha256 {ref.digest})" if ref.digest else f"crossview's own {method}"
    before = f"{printable(made_with)} (sha256 {printable(then)})" if then else printable(made_with)
    return ref, (
        f"{path} was made with another method page: {before} then, {now} now; its network may "
        "not be the one that was trained",
    )


def _restore_framing(views: Views, data: str, settings: Mapping[str, Any], rows: Any) -> Views:
    """The views of a run that noted no framing: its data set's, with the rows that it was told."""
    if (framing := find_framing(data)) is not None:
        return frame_views(views, replace(framing, keep_rows=rows or framing.keep_rows))
    names = ("elevation_deg", "footprint_m")
    return restore_views(views, {"keep_rows": rows, **{name: settings.get(name) for name in names}})


def frame_for_model(table: PairTable, data: str, ground: ViewSpec, trained_on: str) -> PairTable:
    """The table as a model with this ground view is to see it.

    Rows of panoramas are those that the data set says, for a model of other data too. On the data
    that the model was trained on they are those of its training, should these have been others.
    """
    kinds = [_family(name.partition(":")[0].strip().casefold()) for name in (data, trained_on)]
    if kinds[0] != kinds[1] or find_framing(data) is None or not ground.whole or ground.all_rows:
        return table
    return replace(table, framing=replace(table.framing, keep_rows=ground.keep_rows))


def make_config(page: Any, values: Mapping[str, Any]) -> Any:
    """A page's Config with some fields replaced.

    Texts (from ``--config k=v``) are read by the field's type, lists as JSON; unknown names raise
    UnknownName, texts that are not of the type InvalidValue.
    """
    defaults = page.Config()
    types = get_type_hints(page.Config)
    settings = {}
    for name, value in values.items():
        if name not in types:
            raise UnknownName("setting", name, types)
        if isinstance(value, str):
            settings[name] = _read_setting(name, value, types[name], getattr(defaults, name))
        else:
            _require_type(name, value, types[name])
            settings[name] = value
    return page.Config(**settings)


def _require_type(name: str, value: Any, kind: Any) -> None:
    """InvalidValue for a value, as JSON has it, that is not of the type ``kind``."""
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as problem:
        raise InvalidValue(
            f"Setting {name} is {str(value)[:60]!r}; expected {_describe_type(kind)}."
        ) from problem


def _read_setting(name: str, text: str, kind: Any, default: Any) -> Any:
    """A text of the command line as a value of type ``kind``."""
    if kind is str:
        return text
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_json(text.lower() if kind is bool else text, strict=True)
    except ValidationError:
        with suppress(ValidationError):
            return adapter.validate_python(text, strict=True)  # a text, where one is allowed
    raise InvalidValue(
        f"Setting {name} is {text!r}; expected {_describe_type(kind)}.\n"
        f"Give a value like {json.dumps(default)}."
    )


def _describe_type(kind: Any) -> str:
    """A type in words: "a whole number", "a list of 2 numbers"."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    if kind in words:
        return words[kind]
    if kind is type(None):
        return "null"
    items = get_args(kind)
    if get_origin(kind) is tuple and len({*items} - {...}) == 1:
        count = "" if ... in items else f"{len(items)} "
        return f"a list of {count}{_describe_type(items[0]).partition(' ')[2]}s"
    if get_origin(kind) in {Union, UnionType}:
        return " or ".join(_describe_type(item) for item in items)
    if get_origin(kind) is Literal:
        return " or ".join(map(json.dumps, items))
    return str(kind)


def _info(path: Path, kind: str) -> dict[str, Any]:
    from crossview.worlds.town_pairs import OVER_EARTH, read_made_by

    beside = path.with_suffix(".json")
    info: dict[str, Any] = {}
    if beside.is_file():
        try:
            info = read_object(beside)
        except (OSError, ValueError) as problem:
            raise BadData(f"{beside} cannot be read: {problem}") from problem
        if set(info) - set(PAIRS_KEYS):
            raise BadData(f"{beside}: expected an object with some of {', '.join(PAIRS_KEYS)}.")
    note = read_made_by(path)
    town = bool(note) and not note.startswith(OVER_EARTH)
    info.setdefault("training_data", note or f"{kind}: {path.name}")
    if note:
        info.setdefault("licence", RENDERED_LICENCE if town else DRAPED_LICENCE)
    return {**info, "synthetic": bool(info.get("synthetic") or town or kind == "town")}


def _with_marks(info: dict[str, Any], tables: Mapping[str, PairTable]) -> dict[str, Any]:
    """What is known of the pictures, and what they say of themselves: rendered ones are no Earth.

    Half of either side is enough: a model of half a town is no evidence either.
    """
    from crossview.worlds.town_pairs import measure_synthetic_share

    sides = (
        [p for t in tables.values() for p in getattr(t, side)] for side in ("ground", "aerial")
    )
    share = max(map(measure_synthetic_share, sides))
    if share == 0.0 or info["synthetic"]:
        return info
    sentence = f"rendered pictures among them: {share:.0%} of those looked at"
    notes = "; ".join(text for text in (info.get("notes", ""), sentence) if text)
    return {**info, "notes": notes, "synthetic": share >= _SYNTHETIC_SHARE}


def _rows_beside(path: Path, rows: Any) -> Framing:
    """The framing that the file beside a table of pairs states; nothing if there is none."""
    try:
        return Framing(keep_rows=None if rows is None else tuple(rows))
    except (TypeError, ValueError) as problem:
        raise BadData(
            f"{path.with_suffix('.json')}: keep_rows is {rows!r}; expected two shares of a "
            "panorama's height, such as [0.25, 0.75]."
        ) from problem
