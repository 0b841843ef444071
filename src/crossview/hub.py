"""Models by name: pulled from a hub, checked against what the hub said, and written for one.

``hub:OWNER/NAME[@REVISION]`` names a repository of a hub that huggingface_hub knows (its cache, its
offline mode, its tokens, ``HF_ENDPOINT``). Of a repository only files that hold no code are ever
fetched: ONNX, safetensors, JSON, YAML and texts, by exact names. A pickle never is.

The library compares sizes, not contents, so every file is compared here with the hash that the
hub's listing states, and with ``SHA256SUMS`` where the folder has one. What was pulled is then
written down (:class:`PullRecord`, below ``cache_folder()``): by that record, and with every file
compared again, a model is opened later without a question to anybody.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files as resources
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import quote

from annotated_types import MaxLen

from crossview.downloads import cache_folder
from crossview.errors import (
    AccessRefused,
    BadAnswer,
    BadModel,
    CannotWrite,
    CrossviewError,
    DownloadFailed,
    InvalidValue,
    NotOnServer,
    ServiceBusy,
    ServiceDown,
    UsageError,
)
from crossview.files import (
    list_entries,
    list_files,
    make_folder,
    printable,
    require_room,
    write_together,
)
from crossview.locks import lock, write_alone
from crossview.schema import Count, Sentence, Sha256, Text, check, read_bytes, read_object

LOG = logging.getLogger("crossview.hub")
PREFIX = "hub:"
CARD_NAME, SUMS_NAME = "README.md", "SHA256SUMS"
MAIN = "main"  # the revision of a name that gives none
NOT_STATED = "none stated by its authors"
PUBLISHED_NAME = "published_models.toml"
MOST_TEXT_BYTES = 4_000_000  # of a card, a licence, a small file of settings
MOST_BYTES = 20_000_000_000  # of all that one name brings
_MOST_FILES = 10_000  # that a repository may list
_SPARE_BYTES = 50_000_000  # of the disk, left free
_FORMAT = 1
_OWNER = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"(?P<owner>{_OWNER})/(?P<name>{_OWNER})(@(?P<revision>[A-Za-z0-9._/-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*){0,4}")
_SUM = re.compile(r"(?P<sha256>[0-9a-f]{64}) [ *](?P<name>.+)")
_LEGAL = re.compile(r"(LICEN[CS]E|NOTICE|ATTRIBUTION)(\.(md|txt))?", re.IGNORECASE)
_SETTINGS = {"config.yaml", "config.yml", "config.json"}
_PICKLES = {".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".tar"}
_LICENCES = (  # identifiers that the hub knows, by the beginning of what people write
    "apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "cc0-1.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "cc-by-4.0", "odbl", "etalab-2.0", "gpl-3.0", "agpl-3.0",
)  # fmt: skip


@dataclass(frozen=True)
class HubName:
    """``hub:OWNER/NAME@REVISION``, taken apart. A revision is a branch, a tag or a commit."""

    owner: str
    name: str
    revision: str = MAIN

    @property
    def repository(self) -> str:
        """OWNER/NAME, as the hub has it."""
        return f"{self.owner}/{self.name}"

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + f"@{self.revision}" * (self.revision != MAIN)


@dataclass(frozen=True, kw_only=True)
class PulledFile:
    """One file of a repository, as it was when it was compared with the hub."""

    name: Annotated[str, MaxLen(500)]
    bytes: Count
    sha256: Sha256


@dataclass(frozen=True, kw_only=True)
class PullRecord:
    """What was pulled by which name, and when: JSON below ``cache_folder()/models``."""

    repository: Sentence
    revision: Sentence  # as it was asked for
    commit: Annotated[str, MaxLen(40)]
    endpoint: Sentence  # the hub
    pulled: Sentence  # ISO 8601, UTC
    kind: Literal["model", "checkpoint"]  # a model folder, or authors' weights to import
    licence: Text  # as the card states it; "" where it states none
    has_card: bool
    files: tuple[PulledFile, ...]
    format: Literal[1] = 1

    @property
    def pinned_name(self) -> str:
        """The name by which an index finds the same files again."""
        return f"{PREFIX}{self.repository}@{self.commit}"


@dataclass(frozen=True)
class Pulled:
    """A repository that lies in the hub's cache, every file compared with its record."""

    record: PullRecord
    folder: Path
    left: tuple[str, ...] = ()  # files of the repository that were not fetched

    def list_weights(self) -> list[Path]:
        """Its safetensors, the largest first: what ``crossview import`` reads."""
        found = [f for f in self.record.files if f.name.endswith(".safetensors")]
        return [self.folder / f.name for f in sorted(found, key=lambda f: -f.bytes)]


@dataclass(frozen=True)
class Card:
    """What a model folder's README.md states in its front matter."""

    licence: str  # "" where it states none
    text: str


@dataclass(frozen=True, kw_only=True)
class PublishedCheckpoint:
    """A row of the table of checkpoints that others have published; see ``real`` terms there."""

    name: Sentence
    address: Text
    format: Text
    trained_on: Text
    code_licence: Text  # "" where none is stated
    weights_licence: Text  # "" where none is stated: none is inferred
    notes: Text
    method: Sentence = ""  # of crossview import; "" where no page reads it
    trained_on_name: Sentence = ""  # what --trained-on is given, "" if it depends

    @property
    def terms(self) -> str:
        """Both licences in words."""
        code = f"code {self.code_licence}" if self.code_licence else "code: none stated"
        return f"{code}; weights: {self.weights_licence or NOT_STATED}"


@dataclass(frozen=True, kw_only=True)
class CardFigure:
    """A figure for a card: what was measured on which data, with its 95 % interval."""

    data: str
    conditions: str
    name: str
    value: float
    low: float  # NaN where there is no interval
    high: float
    unit: str
    n: int


@dataclass(frozen=True)
class _Entry:
    """A file as the hub's listing states it: ``digest`` is sha256, or git's sha1 of a blob."""

    bytes: int
    digest: str
    algorithm: Literal["sha256", "git"]


def is_hub_name(text: str | Path) -> bool:
    """Whether this names a model of a hub."""
    return str(text).startswith(PREFIX)


def drop_folders(name_or_path: str) -> str:
    """A model's name without folders of this machine; of a hub, with owner and commit."""
    return name_or_path if is_hub_name(name_or_path) else PurePath(name_or_path).name


def parse_hub_name(text: str | Path) -> HubName:
    """The parts of ``hub:OWNER/NAME[@REVISION]``; InvalidValue for anything else."""
    plain = text.as_posix() if isinstance(text, Path) else text
    match = _NAME.fullmatch(plain.removeprefix(PREFIX)) if plain.startswith(PREFIX) else None
    if match is None or ".." in plain or "--" in f"{match['owner']}/{match['name']}":
        raise InvalidValue(
            f"{printable(plain)[:200]!r} names no model of a hub: give hub:OWNER/NAME, or "
            "hub:OWNER/NAME@REVISION with a branch, a tag or a commit."
        )
    revision = match["revision"] or MAIN
    if revision.startswith(("/", "-")) or revision.endswith("/") or "//" in revision:
        raise InvalidValue(f"{revision!r} is no revision: give a branch, a tag or a commit.")
    return HubName(match["owner"], match["name"], revision)


def find_pulled(name: HubName) -> Pulled | None:
    """What was pulled by this name, every file compared again; None if nothing was.

    Nobody is asked. BadModel where a file has changed since it was pulled.
    """
    record = _read_record(_record_path(name))
    if record is None:
        return None
    folder = _snapshot(record)
    if not all((folder / file.name).is_file() for file in record.files):
        return None  # the hub's own tool has removed it
    for file in record.files:
        size, sha256, _ = _digest(folder / file.name)
        if (size, sha256) != (file.bytes, file.sha256):
            raise BadModel(
                f"{folder / file.name} is not what was pulled: its content has changed since "
                f"{record.pulled}.\nPull it again: crossview pull {name}"
            )
    return Pulled(record, folder)


def list_pulled() -> list[PullRecord]:
    """What was pulled and still lies in the hub's cache, by name; nobody is asked."""
    records = []
    for path in list_files(_records_folder(), {".json"}) if _records_folder().is_dir() else []:
        with suppress(BadModel):
            record = _read_record(path)
            if record and all((_snapshot(record) / f.name).is_file() for f in record.files):
                records.append(record)
    named = [record for record in records if record.revision != record.commit]
    known = {(record.repository, record.commit) for record in named}
    named += [r for r in records if (r.repository, r.commit) not in known]
    return sorted(named, key=lambda r: (r.repository, r.revision))


def pull(
    name: HubName,
    *,
    names: Collection[str],
    check_folder: Callable[[Path], None],
    note: Callable[[str], None] = LOG.info,
) -> Pulled:
    """Fetch a repository of the hub, compare every file, and write down what was pulled.

    ``names`` are the files of a model folder, the one that describes the model last; where that is
    missing, the repository is taken for authors' weights in safetensors. ``check_folder`` raises
    for a model folder that cannot be. The library's cache is used: what lies there whole is not
    fetched again, and what was cut off goes on.

    Raises NotOnServer (no such repository or revision, or it is gone since), AccessRefused
    (private, gated, a token refused), ServiceDown (no network, offline mode), ServiceBusy,
    BadAnswer (nonsense, a file whose hash is another), BadModel (nothing of it may be fetched, or
    what came is no model), CannotWrite (no room).
    """
    library = _load_library()
    before = _remember(name)
    with _explain(name, before):
        commit, entries = _list_repository(library, name)
    kind, chosen = choose_files(name, entries, names)
    size = sum(entries[one].bytes for one in chosen)
    _require_room(library, name, entries, chosen)
    note(f"{name}: {len(chosen)} files, {size / 1e6:.1f} MB, commit {commit[:12]}.")
    with _explain(name, before):
        place = library.snapshot_download(
            name.repository, revision=commit, allow_patterns=list(chosen), max_workers=4
        )
    folder = Path(place)
    fetched = tuple(_compare(name, folder, one, entries[one]) for one in chosen)
    compare_sums(folder, {file.name: file.sha256 for file in fetched})
    if kind == "model":
        check_folder(folder)
    card = read_card(folder)
    record = PullRecord(
        repository=name.repository,
        revision=name.revision,
        commit=commit,
        endpoint=str(library.constants.ENDPOINT),
        pulled=datetime.now(UTC).isoformat(timespec="seconds"),
        kind=kind,
        licence=card.licence if card else "",
        has_card=card is not None,
        files=fetched,
    )
    for kept in (replace(record, revision=commit), record):
        path = _record_path(HubName(name.owner, name.name, kept.revision))
        make_folder(path.parent)
        write_alone(path, json.dumps(asdict(kept), indent=1) + "\n", "crossview pull")
    return Pulled(record, folder, tuple(sorted(set(entries) - set(chosen))))


def choose_files(
    name: HubName, entries: Mapping[str, Any], names: Collection[str]
) -> tuple[Literal["model", "checkpoint"], tuple[str, ...]]:
    """Which files of a listing are fetched, and what they are together; BadModel for none.

    A model folder's files by their exact names; else safetensors and their settings. Beside them
    the card, the sums, and texts of licences. Nothing else, whatever it is called.
    """
    described = list(names)[-1]
    known = sorted(one for one in entries if _SAFE.fullmatch(one))
    beside = [n for n in known if n in {CARD_NAME, SUMS_NAME} or _LEGAL.fullmatch(n)]
    if described in known:
        return "model", tuple(sorted({*beside, *(n for n in known if n in names)}))
    weights = [n for n in known if n.endswith(".safetensors")]
    if weights:
        settings = [n for n in known if PurePosixPath(n).name in _SETTINGS]
        return "checkpoint", tuple(sorted({*beside, *weights, *settings}))
    pickles = [n for n in entries if PurePosixPath(n).suffix.lower() in _PICKLES]
    if pickles:
        shown = ", ".join(printable(n) for n in pickles[:3])
        raise BadModel(
            f"{name} holds its weights only as pickles ({shown}), and opening one can run code: "
            "they are not fetched.\nAsk its authors for safetensors. Or fetch the file yourself "
            "with the hub's own tool; crossview import METHOD FILE reads it without running code "
            "(crossview models says for which)."
        )
    raise BadModel(
        f"{name} holds no model: neither {described} with ONNX files, as crossview publish writes "
        "them, nor weights as safetensors.\nCheck the name; crossview models lists known ones."
    )


def read_card(folder: Path) -> Card | None:
    """The card of a model folder; None where there is none, or none that can be read as text."""
    try:
        text = read_bytes(folder / CARD_NAME, MOST_TEXT_BYTES).decode("utf-8")
    except (OSError, ValueError):
        return None
    return Card(_find_licence(text), text)


def _find_licence(text: str) -> str:
    """The licence that a card's front matter states, in words; "" where it states none."""
    _load_library()
    from huggingface_hub import ModelCard

    try:
        data: Any = ModelCard(text, ignore_metadata_errors=True).data
        facts = data.to_dict()
    except Exception:  # the front matter is a stranger's: whatever it is, it states no licence
        return ""
    stated = facts.get("license")
    stated = stated if isinstance(stated, list) else [stated]
    words = [one for one in stated if isinstance(one, str) and one.strip()]
    if not words:
        return ""
    more = [facts.get(key) for key in ("license_name", "license_link")]
    extra = ", ".join(one for one in more if isinstance(one, str) and one.strip())
    return printable(" and ".join(words) + (f" ({extra})" if extra else ""))[:500]


def compare_sums(folder: Path, have: Mapping[str, str]) -> None:
    """Compare files with the folder's SHA256SUMS; BadModel where one differs or is missing.

    ``have`` is the sha256 of each file that is there. A folder without sums is taken as it is.
    """
    if SUMS_NAME not in have:
        return
    path = folder / SUMS_NAME
    try:
        lines = read_bytes(path, MOST_TEXT_BYTES).decode("utf-8").splitlines()
    except (OSError, ValueError) as problem:
        raise BadModel(f"{path} cannot be read: {problem}.") from problem
    sums = {}
    for line in filter(str.strip, lines):
        match = _SUM.fullmatch(line)
        if match is None:
            raise BadModel(f"{path} is damaged: {printable(line)[:80]!r} is no sum and name.")
        sums[match["name"]] = match["sha256"]
    for name in (n for n in have if n not in {SUMS_NAME, CARD_NAME} and n not in sums):
        if not _LEGAL.fullmatch(name):
            raise BadModel(
                f"{folder / name} is not in {SUMS_NAME}: it is not of those who made it."
            )
    for name, sha256 in sums.items():
        if have.get(name) != sha256:
            what = "is not what its makers wrote" if name in have else "is missing"
            raise BadModel(
                f"{folder}: {printable(name)[:100]} {what} ({SUMS_NAME} names another content).\n"
                "Do not use it; tell its owner, or pull another revision."
            )


def read_published() -> tuple[PublishedCheckpoint, ...]:
    """The published checkpoints that are known and no method reads, in the order of the file."""
    text = (resources("crossview") / PUBLISHED_NAME).read_text(encoding="utf-8")
    return tuple(check(PublishedCheckpoint, row) for row in tomllib.loads(text)["model"])


def compose_card(
    facts: Mapping[str, Any], *, licence: str, fingerprint: str, figures: Sequence[CardFigure] = ()
) -> str:
    """A card of a model from its facts (the values of ``model.json``): README.md as the hub has it.

    ``licence``: an identifier of the hub's, or any words. InvalidValue where there is nothing to
    say of licence or training data: a model without a card is not published.
    """
    _load_library()
    from huggingface_hub import ModelCardData

    trained_on = str(facts.get("training_data", ""))
    for what, text, remedy in (
        ("under which licence it is", licence, "Give it with --licence"),
        ("what it was trained on", trained_on, "Write a card of your own and give it with --card"),
    ):
        if text.strip() in {"", "not recorded", "unknown"}:
            raise InvalidValue(
                f"{facts.get('name', 'The model')} does not say {what}, so there is no card to "
                f"write, and a model without a card is not published.\n{remedy}."
            )
    identifier = name_licence(licence)
    stated: dict[str, Any] = {"license": identifier}
    if identifier == "other":
        stated["license_name"] = licence.splitlines()[0][:200]
    data = ModelCardData(
        library_name="crossview",
        tags=["crossview", "cross-view-geo-localization", "image-retrieval", "onnx"],
        fingerprint=fingerprint,
        **stated,
    )
    lines = [f"# {printable(str(facts['name']))}", "", *_describe_model(facts, licence)]
    lines += _tabulate_figures(figures)
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(lines) + "\n"


def name_licence(words: str) -> str:
    """The hub's identifier of a licence that is stated in words; "other" if it is none of them."""
    plain = re.sub(r"[\s_]+", "-", words.strip().lower())
    found = [one for one in _LICENCES if re.match(re.escape(one) + r"(?![\w.])", plain)]
    return max(found, key=len, default="other")


def publish(files: Mapping[str, bytes], card: str, out: Path, *, legal: Sequence[Path] = ()) -> str:
    """Write a folder to upload: a model's ``files``, its card, sums, and texts of licences.

    The card lies beside the sums and is not among them, so that it can be edited on the hub.
    Returns the line that uploads it. UsageError where other things lie there; InUse.
    """
    texts = {path.name: read_bytes(path, MOST_TEXT_BYTES) for path in legal}
    if wrong := [name for name in texts if not _LEGAL.fullmatch(name)]:
        raise InvalidValue(
            f"{wrong[0]} is no text of a licence by its name: call it LICENSE, NOTICE or "
            "ATTRIBUTION, with .md or .txt behind it if you like."
        )
    with lock(out, "crossview publish", make_parents=True):
        there = [path.name for path in list_entries(out)] if out.is_dir() else []
        ours = {*files, *texts, CARD_NAME, SUMS_NAME}
        if there and SUMS_NAME not in there:
            raise UsageError(
                f"{out} is not empty, and crossview publish has not written it.\n"
                "Choose another --out."
            )
        hashes = {n: hashlib.sha256(data).hexdigest() for n, data in {**files, **texts}.items()}
        sums = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(hashes.items()))
        written: dict[str, bytes | str] = {**files, **texts, CARD_NAME: card, SUMS_NAME: sums}
        write_together(out, written, ours)
    return f"hf upload OWNER/NAME {out} ."


def read_own_card(path: Path) -> str:
    """A card that somebody wrote, as it is; InvalidValue unless its front matter says a licence."""
    try:
        text = read_bytes(path, MOST_TEXT_BYTES).decode("utf-8")
    except ValueError as problem:
        raise InvalidValue(f"{path} is no card: {problem}.") from problem
    if not _find_licence(text):
        raise InvalidValue(
            f"{path} states no licence: begin it with the lines ---, license: apache-2.0 (or "
            "another), ---.\nA model without one is not published."
        )
    return text


def _describe_model(facts: Mapping[str, Any], licence: str) -> Iterator[str]:
    ground, aerial = facts["ground"], facts["aerial"]
    low, high = facts.get("fov_seen_deg", (360.0, 360.0))
    if caution := facts.get("caution"):
        yield from (f"**Made with a model {printable(str(caution))}.**", "")
    if facts.get("synthetic"):
        yield from ("**It was trained on a synthetic town: it knows nothing of Earth.**", "")
    fov = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    rows = {
        "trained on": facts["training_data"],
        "licence": licence,
        "photos": f"{fov} degrees wide, headings {facts.get('headings_seen', 'unknown')}, "
        f"drawn to {ground['width_px']} x {ground['height_px']} pixels",
        "from above": f"{aerial['footprint_m']:g} m across, {aerial['width_px']} x "
        f"{aerial['height_px']} pixels",
        "coarsest imagery": f"{facts['coarsest_imagery_m']:g} m per pixel"
        if facts.get("coarsest_imagery_m")
        else "not recorded",
        "vector": f"{facts['dim']} numbers, {facts.get('azimuth_bins', 1)} azimuth bins",
        "notes": facts.get("notes") or "none",
    }
    yield from ("| | |", "|---|---|")
    yield from (f"| {name} | {_cell(text)} |" for name, text in rows.items())
    yield from ("", "## Attributions", "")
    owners = facts.get("attributions") or ["None recorded."]
    yield from (f"* {printable(str(owner))}" for owner in owners)
    if limits := facts.get("limits"):
        yield from ("", "## What it cannot do", "", printable(str(limits)))
    yield from (
        "", "## Use", "", "```", "pip install 'crossview[online]'",
        "crossview index IMAGERY --model hub:OWNER/NAME --out region.cvx",
        "crossview locate PHOTO --index region.cvx", "```", "",
        "Answers are leads, not evidence. Do not use them to find or follow a person.",
    )  # fmt: skip


def _tabulate_figures(figures: Sequence[CardFigure]) -> Iterator[str]:
    yield from ("", "## Figures", "")
    if not figures:
        yield "None were measured, or none were given to `crossview publish`."
        return
    yield from ("| data | conditions | figure | value | 95 % interval | n |",
                "|---|---|---|---|---|---|")  # fmt: skip
    for one in figures:
        sign = f" {one.unit}"
        span = f"{one.low:.1f} to {one.high:.1f}{sign}" if one.low == one.low else "none"
        yield (
            f"| {_cell(one.data)} | {_cell(one.conditions)} | {_cell(one.name)} | "
            f"{one.value:.1f}{sign} | {span} | {one.n:,} |"
        )


def _cell(text: object) -> str:
    return printable(str(text)).replace("|", "\\|").replace("\n", " ")


def _load_library() -> Any:
    """huggingface_hub, kept from telling its makers who uses it, and quiet."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import huggingface_hub
    from huggingface_hub import constants, utils

    library: Any = utils
    # It may have been imported before, as by timm. Beside what is sent, telemetry would ask the hub
    # which programs call it.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    if "HF_HUB_VERBOSITY" not in os.environ:
        library.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        library.disable_progress_bars()
    return huggingface_hub


def _records_folder() -> Path:
    return cache_folder() / "models"


def _record_path(name: HubName) -> Path:
    revision = quote(name.revision, safe="")
    return _records_folder() / f"{name.owner}--{name.name}@{revision}.json"


def _read_record(path: Path) -> PullRecord | None:
    try:
        record = check(PullRecord, read_object(path))
        if not _COMMIT.fullmatch(record.commit):
            raise ValueError(f"commit {record.commit[:50]!r}")
        parse_hub_name(f"{PREFIX}{record.repository}")
        if wrong := [file.name for file in record.files if not _SAFE.fullmatch(file.name)]:
            raise ValueError(f"a file is called {wrong[0][:50]!r}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        raise BadModel(
            f"{path} cannot be read: {problem}.\nPull the model again with crossview pull."
        ) from problem
    return record


def _remember(name: HubName) -> PullRecord | None:
    """What was pulled by this name before; a damaged record counts as none, it is written anew."""
    try:
        return _read_record(_record_path(name))
    except BadModel:
        return None


def _snapshot(record: PullRecord) -> Path:
    """Where the hub's library keeps a commit."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE).expanduser()
    return place / f"models--{record.repository.replace('/', '--')}" / "snapshots" / record.commit


def _list_repository(library: Any, name: HubName) -> tuple[str, dict[str, _Entry]]:
    """The commit of a revision, and its files as the hub states them."""
    hub = library.HfApi(library_name="crossview")
    commit = hub.repo_info(name.repository, revision=name.revision).sha
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise BadAnswer(f"The hub names no commit of {name}, but {printable(str(commit))[:60]!r}.")
    entries: dict[str, _Entry] = {}
    for found in hub.list_repo_tree(name.repository, recursive=True, revision=commit):
        if not hasattr(found, "blob_id"):
            continue  # a folder
        if len(entries) >= _MOST_FILES:
            raise BadAnswer(f"{name} lists more than {_MOST_FILES} files: no model folder.")
        stored = found.lfs
        digest, size = (stored.sha256, stored.size) if stored else (found.blob_id, found.size)
        entries[str(found.path)] = _Entry(int(size), str(digest), "sha256" if stored else "git")
    return commit, entries


def _require_room(
    library: Any, name: HubName, entries: Mapping[str, _Entry], chosen: Sequence[str]
) -> None:
    """BadAnswer for files beyond all sizes, CannotWrite where the disk cannot hold them."""
    for one in chosen:
        most = MOST_BYTES if one.endswith((".onnx", ".safetensors")) else MOST_TEXT_BYTES
        if not 0 <= entries[one].bytes <= most:
            raise BadAnswer(f"{name}: {one} has {entries[one].bytes:,} bytes; at most {most:,}.")
    size = sum(entries[one].bytes for one in chosen)
    if size > MOST_BYTES:
        raise BadAnswer(f"{name} has {size:,} bytes of weights; at most {MOST_BYTES:,} are taken.")
    place = Path(library.constants.HF_HUB_CACHE).expanduser()
    advice = "Make room, or set HF_HOME to a folder of another disk."
    require_room(place, size + _SPARE_BYTES, f"{name} needs", advice)


def _compare(name: HubName, folder: Path, file: str, entry: _Entry) -> PulledFile:
    """A file that was fetched; BadAnswer, and it is removed, unless it is what the hub stated."""
    path = folder / file
    size, sha256, git = _digest(path)
    if size != entry.bytes or entry.digest != (sha256 if entry.algorithm == "sha256" else git):
        blob = path.resolve()
        path.unlink(missing_ok=True)
        if folder.parents[1] in blob.parents:
            blob.unlink(missing_ok=True)
        raise BadAnswer(
            f"{name}: {file} is not what the hub's listing states (its hash differs), so it was "
            "removed.\nTry again; if that is said again, do not use it and tell its owner."
        )
    return PulledFile(name=file, bytes=size, sha256=sha256)


def _digest(path: Path) -> tuple[int, str, str]:
    """Size of a file, its sha256, and git's sha1 of it as a blob."""
    try:
        size = path.stat().st_size
        sha256 = hashlib.sha256()
        git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                sha256.update(block)
                git.update(block)
    except OSError as problem:
        raise BadModel(f"{path} cannot be read: {problem.strerror}.") from problem
    return size, sha256.hexdigest(), git.hexdigest()


@contextmanager
def _explain(name: HubName, before: PullRecord | None) -> Iterator[None]:
    """Say in our words what the hub's library raises."""
    try:
        yield
    except CrossviewError:
        raise
    except Exception as problem:  # its errors are of a dozen kinds, and of the client below it
        explained = _translate(name, problem)
        if before is not None and isinstance(explained, DownloadFailed):
            gone = isinstance(explained, NotOnServer)
            why = "It is gone since: ask why before you rely on it. " if gone else ""
            explained = type(explained)(
                f"{str(explained).splitlines()[0]}\n{why}It was pulled here on {before.pulled}, "
                f"and works without a network as {before.pinned_name} while the cache keeps it."
            )
        raise explained from problem


def _translate(name: HubName, problem: Exception) -> CrossviewError:
    from huggingface_hub import errors

    status = getattr(getattr(problem, "response", None), "status_code", 0)
    offline = isinstance(problem, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError)
    for applies, kind, message in (
        (
            isinstance(problem, errors.GatedRepoError),
            AccessRefused,
            f"{name} is given only to those whom its owner admits.\n"
            "Ask on its page on the hub, then log in: hf auth login, or set HF_TOKEN.",
        ),
        (
            isinstance(problem, errors.DisabledRepoError),
            NotOnServer,
            f"{name} was taken down by the hub.",
        ),
        (
            isinstance(problem, errors.RevisionNotFoundError),
            NotOnServer,
            f"{name.repository} is on the hub, but has no revision {name.revision}.\n"
            "Check the branch, tag or commit behind the @.",
        ),
        (
            status in {401, 403},
            AccessRefused,
            f"The hub does not give {name} to you: it is private, or there is none of that name, "
            "or the token was refused.\nCheck the name; if you may have it, hf auth login, or set "
            "HF_TOKEN.",
        ),
        (
            status in {404, 410} or isinstance(problem, errors.RemoteEntryNotFoundError),
            NotOnServer,
            f"There is no {name} on the hub, or no longer.\n"
            "Check owner and name; crossview models lists known ones.",
        ),
        (
            status == 429,
            ServiceBusy,
            f"The hub wants fewer requests and did not give {name}.\n"
            "Try again in some minutes, or log in (hf auth login).",
        ),
        (
            status >= 500,
            ServiceDown,
            f"The hub has a fault of its own ({status}). Try again later.",
        ),
        (
            offline,
            ServiceDown,
            f"{name} was not pulled yet, and the hub is not asked or not reached (HF_HUB_OFFLINE "
            f"or no network).\nPull it where there is a network: crossview pull {name}",
        ),
    ):
        if applies:
            return kind(message)
    return _translate_other(name, problem)


def _translate_other(name: HubName, problem: Exception) -> CrossviewError:
    """Errors of the client below the library, of the disk, and of nonsense."""
    reason = printable((str(problem).splitlines() or [type(problem).__name__])[0])[:200]
    if type(problem).__module__.split(".")[0] in {"httpx", "httpx2", "httpcore", "httpcore2"}:
        return ServiceDown(
            f"The hub cannot be reached, so {name} was not pulled ({reason}).\n"
            "Check the network and HF_ENDPOINT; a model that was pulled works without it."
        )
    if (
        isinstance(problem, OSError)
        and problem.errno is not None
        and not hasattr(problem, "response")
    ):
        return CannotWrite(f"{name} cannot be kept in the hub's cache: {problem.strerror}.")
    return BadAnswer(f"The hub answers nonsense about {name} ({type(problem).__name__}: {reason}).")
