"""An index in PostgreSQL with pgvector: one database, or several as shards of one index.

An address is ``postgresql://user@host:port/database#name``; the name is that of a schema, and
``crossview`` without one. Several addresses, with a semicolon between them, are the shards of one
index: each holds windows that lie together. Passwords belong into ``~/.pgpass`` or ``PGPASSWORD``.

The score of ``similarity`` is computed by the server, in one scan over the windows: the highest of
the turns of ``-(vector <#> query) / sqrt(-(energy <#> seen))``, where ``energy`` holds the squared
length of each azimuth bin. Every shard is asked at once and answers with its best windows; the best
of them are those of the whole index. A shard that does not answer is an error, never less ground.

A reader needs USAGE of the schema and SELECT of its tables, no more, and asks in transactions that
cannot write. Windows are filled unit by unit: the windows of a unit and the note that it is done
are one transaction, so that a unit is there once or not at all, however often it is put. An index
is filled beside the one of its name, and takes its place when it is sealed.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossview.arrays import F32, F64, I64
from crossview.errors import (
    AccessRefused,
    BadIndex,
    CannotWrite,
    InvalidValue,
    ServiceDown,
    UsageError,
    require,
)
from crossview.geo.footprints import Footprint
from crossview.geo.points import LatLon, measure_distances_m
from crossview.index.candidates import (
    BEST,
    Candidates,
    SearchArea,
    keep_above,
    merge_shards,
    surround_place,
)
from crossview.index.similarity import NOTHING, TURN_COST, Asked, Facing
from crossview.index.store import Index, Manifest, place_footprint, require_same_model
from crossview.schema import check, parse_object

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

SHARD_SEPARATOR = ";"
DEFAULT_SCHEMA = "crossview"
NEXT, BEFORE = "__next", "__before"  # an index that is filled; one that is about to go
CONNECT_S = 5.0
STATEMENT_S = 60.0  # of a scan; an address may say otherwise, by options=-cstatement_timeout=...
POOL = 4  # connections to each shard
MOST_PLACES = 4_000_000  # windows whose places a map page or a server holds: 96 MB
UNIT_BITS = 24  # of a window's number within its unit
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")
_ADDRESS = re.compile(r"^postgres(ql)?:/+")
_PLAIN_DIM = 1900  # up to here a vector lies in its row, and is not unpacked for every turn
_TOGETHER = 4096  # windows that are fetched, or put, at a time
_SEED = 0

STEPS = (
    """
    create table facts (version int not null, shard int not null, shards int not null,
        dim int not null, bins int not null, sealed boolean not null default false, manifest text,
        sha256 text);
    create table units (unit int primary key, windows int not null, sha256 text not null);
    create table windows (id bigint primary key, lat float8 not null, lon float8 not null,
        up float8 not null, vector vector({dim}) not null, energy vector({bins}) not null);
    create table thumbnails (id bigint primary key, jpeg bytea not null);
    alter table windows alter column vector set storage {storage};
    alter table windows alter column energy set storage plain;
    """,
    """
    create index on windows (lat, lon);
    """,
)  # fmt: skip
"""What makes tables of one version into those of the next; version 0 are none."""


@dataclass(frozen=True)
class Address:
    """Where a database is. ``uri`` may hold a password; ``text`` does not."""

    uri: str
    schema: str
    text: str

    @staticmethod
    def parse(text: str) -> Address:
        """One address; InvalidValue, without the address, for what is none."""
        psycopg = _import_psycopg()
        uri, _, name = text.strip().partition("#")
        schema = name or DEFAULT_SCHEMA
        require(
            _NAME.fullmatch(schema) is not None,
            f"{schema!r} cannot name an index in a database: letters a-z, digits and _, such as "
            "postgresql://host/database#town.",
        )
        try:
            facts = psycopg.conninfo.conninfo_to_dict(uri)
        except psycopg.Error:
            raise InvalidValue(
                "this is no address of a database.\nWrite postgresql://user@host:port/database#name"
            ) from None  # what the driver says may hold a part of a password
        host, port = facts.get("host", "localhost"), facts.get("port", 5432)
        where = f"{host}:{port}/{facts.get('dbname', '')}#{schema}"
        return Address(_ADDRESS.sub("postgresql://", uri), schema, where)


def parse_addresses(text: str | Path) -> list[Address]:
    """The databases of an index. A path may have eaten a slash of each."""
    parts = [part for part in str(text).split(SHARD_SEPARATOR) if part.strip()]
    return [Address.parse(_ADDRESS.sub("postgresql://", part.strip())) for part in parts]


def open_windows(address: str | Path) -> Database:
    """The index in one database, or in the shards of several.

    Raises :class:`ServiceDown` where one does not answer, :class:`AccessRefused` where it refuses,
    and :class:`BadIndex` for tables of another version, or shards that are not all of one index.
    """
    addresses = parse_addresses(address)
    shards = [_Shard(each, n, len(addresses)) for n, each in enumerate(addresses, 1)]
    try:
        return Database(shards)
    except BaseException:
        for shard in shards:
            shard.close()
        raise


def _import_psycopg() -> Any:
    try:
        import psycopg
        import psycopg.conninfo
        import psycopg_pool  # noqa: F401 - both or neither
    except ImportError as problem:
        raise UsageError(
            "An index in a database needs psycopg.\nInstall it: pip install 'crossview[postgres]'"
        ) from problem
    return psycopg


# What a server says, as errors.


@contextmanager
def _explain(where: str) -> Iterator[None]:
    """Errors of PostgreSQL as those of crossview; nothing that a server says may name a secret."""
    psycopg = _import_psycopg()
    from psycopg_pool import PoolTimeout

    try:
        yield
    except PoolTimeout as problem:
        raise ServiceDown(
            f"{where} does not answer: no connection within {CONNECT_S:g} s.\n"
            "Is the server running?"
        ) from problem
    except psycopg.errors.QueryCanceled as problem:
        raise ServiceDown(
            f"{where} did not answer in time (statement_timeout).\n"
            "Give a smaller area, or more time: ?options=-cstatement_timeout%3D120s"
        ) from problem
    except psycopg.errors.InsufficientPrivilege as problem:
        raise AccessRefused(
            f"{where}: this user may not read the index.\n"
            "A reader needs USAGE of its schema and SELECT of all its tables."
        ) from problem
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as problem:
        raise BadIndex(f"{where} holds no index that this user may read.\n{_FILL}") from problem
    except psycopg.errors.DiskFull as problem:
        raise CannotWrite(f"{where}: its disk is full.") from problem
    except psycopg.OperationalError as problem:
        raise _explain_connection(where, problem) from None
    except psycopg.Error as problem:
        raise BadIndex(f"{where} cannot be used: {_shorten(problem)}.\n{_FILL}") from problem


_FILL = "Fill it with: crossview index region.cvx --out postgresql://user@host/database#name"


def _explain_connection(where: str, problem: Exception) -> Exception:
    said = str(problem)
    if "password" in said or "authentication" in said or "no pg_hba.conf entry" in said:
        return AccessRefused(
            f"{where} refuses this user or password.\n"
            "Give the right one in ~/.pgpass or PGPASSWORD."
        )
    if "does not exist" in said:
        return BadIndex(f"{where}: there is no such database or user.\n{_FILL}")
    return ServiceDown(f"{where} does not answer ({_shorten(problem)}).\nIs the server running?")


def _shorten(problem: Exception) -> str:
    """The last line of what a driver says, which names no user and no password."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    said = lines[0] if lines else type(problem).__name__
    return said.rpartition("failed: ")[2].rstrip(".")


# One database.


class _Vector:
    """A vector [D] as a parameter, in pgvector's own form."""

    def __init__(self, values: F32) -> None:
        self.data = struct.pack("!HH", len(values), 0) + values.astype(">f4").tobytes()


class _Shard:
    """A database that holds some windows of an index, with a pool of connections."""

    def __init__(self, address: Address, number: int, of: int) -> None:
        psycopg = _import_psycopg()
        from psycopg_pool import ConnectionPool

        self.address, self.number = address, number
        self.text = address.text if of == 1 else f"shard {number} of {of} ({address.text})"
        options = f"-c jit=off -c statement_timeout={int(1000 * STATEMENT_S)}"
        given = psycopg.conninfo.conninfo_to_dict(address.uri)
        options = f"{options} {given.get('options') or ''} -c default_transaction_read_only=on"
        self._conninfo = psycopg.conninfo.make_conninfo(
            address.uri,
            options=f"{options} -c search_path={address.schema},public",
            connect_timeout=given.get("connect_timeout") or int(CONNECT_S),
            application_name="crossview",
        )
        with _explain(self.text):  # what is wrong is said at once, which a pool does not
            psycopg.connect(self._conninfo).close()
        self._pool: ConnectionPool[Connection[Any]] = ConnectionPool(
            self._conninfo,
            min_size=1,
            max_size=POOL,
            timeout=CONNECT_S,
            kwargs={"autocommit": True},
            configure=_know_vectors,
            check=ConnectionPool.check_connection,
            reconnect_timeout=CONNECT_S,
            open=True,
            name=f"crossview-{number}",
        )

    def close(self) -> None:
        """End all connections."""
        if hasattr(self, "_pool"):
            self._pool.close()

    def ask(self, statement: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of an answer; asked once more where a connection broke."""
        psycopg = _import_psycopg()
        import psycopg_pool

        with _explain(self.text):
            try:
                return self._ask(statement, values)
            except (psycopg.errors.QueryCanceled, psycopg_pool.PoolTimeout):
                raise
            except psycopg.OperationalError:
                return self._ask(statement, values)

    def _ask(self, statement: str, values: dict[str, Any] | None) -> list[tuple[Any, ...]]:
        with self._pool.connection() as connection, connection.cursor(binary=True) as cursor:
            return cursor.execute(statement, values, prepare=False).fetchall()


def _know_vectors(connection: Connection[Any]) -> None:
    """Let a connection send vectors as they are."""
    from psycopg.adapt import Dumper
    from psycopg.pq import Format
    from psycopg.types import TypeInfo

    info = TypeInfo.fetch(connection, "vector")
    if info is None:
        raise BadIndex("The database has no pgvector. As its owner: create extension vector")

    known = info.oid

    class VectorDumper(Dumper):
        format = Format.BINARY
        oid = known

        def dump(self, obj: Any) -> bytes:
            data: bytes = obj.data
            return data

    connection.adapters.register_dumper(_Vector, VectorDumper)


# The index.


class Database:
    """An index of N windows in one or several databases. See :class:`selection.Windows`."""

    held = None  # its windows are not in memory

    def __init__(self, shards: Sequence[_Shard]) -> None:
        self._shards = _order_shards(shards)
        facts = [shard.ask("select manifest from facts")[0][0] for shard in self._shards]
        texts = {text for text in facts if text is not None}
        if len(texts) != 1 or None in facts:
            raise BadIndex(
                f"{self._shards[0].text} and the others hold different indexes, or are being "
                "filled just now.\nGive the shards of one index, or try again when it is sealed."
            )
        (text,) = texts
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        self.manifest = _parse_manifest(text, self._shards[0].text)
        self._of_shard, self._units, sizes = self._read_units()
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.count = int(self._starts[-1])
        if self.count != self.manifest.windows:
            raise BadIndex(
                f"{self.name} is damaged: {self.manifest.windows} windows announced, {self.count} "
                f"found.\n{_FILL}"
            )
        self._threads = ThreadPoolExecutor(len(self._shards), "crossview-shard")
        self._bearings: dict[int, F64] = {}  # every photo asks for them

    def __repr__(self) -> str:
        return f"Database({self.name!r}: {self.count} windows)"

    @property
    def name(self) -> str:
        """Its addresses, without users and passwords."""
        return SHARD_SEPARATOR.join(f"postgresql://{s.address.text}" for s in self._shards)

    @property
    def path(self) -> Path:
        """A path that ends in its name: models that are named by a path are looked for beside."""
        return Path(self._shards[0].address.schema)

    def close(self) -> None:
        """End all connections."""
        for shard in self._shards:
            shard.close()
        self._threads.shutdown()

    def _read_units(self) -> tuple[I64, I64, I64]:
        rows = [
            (unit, windows, n)
            for n, shard in enumerate(self._shards)
            for unit, windows in shard.ask("select unit, windows from units")
        ]
        table = np.array(sorted(rows), np.int64).reshape(-1, 3)
        return table[:, 2], table[:, 0], table[:, 1]

    def _to_ids(self, numbers: I64) -> I64:
        """What windows are called in the tables."""
        at = np.searchsorted(self._starts, numbers, side="right") - 1
        ids: I64 = (self._units[at] << UNIT_BITS) + numbers - self._starts[at]
        return ids

    def _to_numbers(self, ids: I64) -> I64:
        at = np.searchsorted(self._units, ids >> UNIT_BITS)
        numbers: I64 = self._starts[at] + (ids & ((1 << UNIT_BITS) - 1))
        return numbers

    def _fan_out(self, ask: Callable[[_Shard], Any]) -> list[Any]:
        """What all shards answer; the first error of any is raised."""
        waiting = [self._threads.submit(ask, shard) for shard in self._shards]
        return [each.result() for each in waiting]

    def _fan_numbers(self, statement: str, numbers: I64) -> list[tuple[Any, ...]]:
        """Rows of windows of these numbers, each asked of the shard that has it."""
        at = np.searchsorted(self._starts, numbers, side="right") - 1
        shard_of, ids = self._of_shard[at], self._to_ids(numbers)

        def ask(n: int, shard: _Shard) -> list[tuple[Any, ...]]:
            own = ids[shard_of == n]
            return [
                row
                for start in range(0, len(own), _TOGETHER)
                for row in shard.ask(statement, {"ids": own[start : start + _TOGETHER].tolist()})
            ]

        waiting = [self._threads.submit(ask, *pair) for pair in enumerate(self._shards)]
        return [row for each in waiting for row in each.result()]

    # What is asked of an index.

    def best(
        self,
        asked: Sequence[Asked],
        k: int = BEST,
        limits: SearchArea = SearchArea(),  # noqa: B008 - frozen
        *,
        drawn: int = 0,
        seed: int = _SEED,
    ) -> Candidates:
        """The best ``k`` windows of each reading within limits, and ``drawn`` others by lot."""
        where, values = self._limit(limits)
        scan = _Scan(asked, where)
        values |= {**scan.values, "k": k, "drawn": drawn, "seed": seed}
        answers = self._fan_out(lambda shard: shard.ask(scan.choose_best(), values))
        parts = [self._read(asked, rows) for rows in answers]
        lots = [np.array([row[4] for row in rows], np.int64) for rows in answers]
        return merge_shards(parts, lots, k, drawn)

    def above(
        self,
        asked: Asked,
        floor: float,
        limits: SearchArea = SearchArea(),  # noqa: B008 - frozen
        *,
        most: int,
    ) -> Candidates:
        """All windows within limits that score at least ``floor``; the best ``most`` if more do."""
        where, values = self._limit(limits)
        scan = _Scan([asked], where)
        values |= {**scan.values, "k": most, "floor": floor, "seed": _SEED}
        answers = self._fan_out(lambda shard: shard.ask(scan.choose_above(), values))
        parts = [self._read([asked], rows) for rows in answers]
        lots = [np.zeros(len(part.numbers), np.int64) for part in parts]
        found = merge_shards(parts, lots, most, 0)
        if sum(len(part.numbers) for part in parts) < most:
            found = replace(found, complete_above=np.array([floor]))
        return keep_above(found, floor)

    def score(self, asked: Sequence[Asked], rows: I64) -> Candidates:
        """What readings of a picture score at windows of these numbers, ascending."""
        scan = _Scan(asked, "w.id = any(%(ids)s)")
        values = {**scan.values, "ids": self._to_ids(rows).tolist(), "seed": _SEED}
        answers = self._fan_out(lambda shard: shard.ask(scan.choose_all(), values))
        found = self._read(asked, [row for rows_ in answers for row in rows_])
        every = replace(found, chosen=np.ones(len(found.numbers), np.bool_))
        order = np.argsort(every.numbers)
        return replace(
            every,
            numbers=every.numbers[order],
            places=every.places[order],
            scores=every.scores[:, order],
            heading_deg=every.heading_deg[:, order],
        )

    def near(self, places: Sequence[LatLon], radius_m: float) -> I64:
        """Numbers of the windows whose middle is within ``radius_m`` of any of some places."""
        boxes = np.array([box for place in places for box in surround_place(place, radius_m)])
        if not len(boxes):
            return np.empty(0, np.int64)
        south, west, north, east = boxes.T.tolist()
        statement = (
            "select distinct w.id, w.lat, w.lon from unnest(%(s)s::float8[], %(w)s::float8[], "
            "%(n)s::float8[], %(e)s::float8[]) as b(s, w, n, e) join windows w on w.lat "
            "between b.s and b.n and w.lon between b.w and b.e"
        )
        values = {"s": south, "w": west, "n": north, "e": east}
        answers = self._fan_out(lambda shard: shard.ask(statement, values))
        table = np.array([row for rows in answers for row in rows], np.float64).reshape(-1, 3)
        ids = np.array([row[0] for rows in answers for row in rows], np.int64)
        inside = np.zeros(len(ids), np.bool_)
        for place in places:
            inside |= measure_distances_m(place, table[:, 1], table[:, 2]) <= radius_m
        return np.sort(self._to_numbers(ids[inside]))

    def take_places(self, rows: I64) -> F64:
        """Latitude, longitude and bearing of up [n, 3] of windows of these numbers."""
        found = self._fan_numbers(
            "select id, lat, lon, up from windows where id = any(%(ids)s)", rows
        )
        table = np.array([row[1:] for row in found], np.float64).reshape(-1, 3)
        return table[self._find_rows(found, rows)]

    def take_vectors(self, rows: I64) -> F32:
        """Vectors [n, D] of windows of these numbers."""
        found = self._fan_numbers("select id, vector from windows where id = any(%(ids)s)", rows)
        data = b"".join(row[1][4:] for row in found)
        vectors = np.frombuffer(data, ">f4").astype(np.float32)
        return vectors.reshape(-1, self.manifest.model.dim)[self._find_rows(found, rows)]

    def _find_rows(self, found: Sequence[tuple[Any, ...]], rows: I64) -> I64:
        """Where each of some windows is in an answer; BadIndex where one is missing."""
        ids = np.array([row[0] for row in found], np.int64)
        order, wanted = np.argsort(ids), self._to_ids(rows)
        at = np.searchsorted(ids, wanted, sorter=order)
        if len(rows) and (at.max(initial=0) >= len(ids) or (ids[order[at]] != wanted).any()):
            raise BadIndex(f"{self.name} is damaged: windows are missing.\n{_FILL}")
        places: I64 = order[at]
        return places

    def sample_bearings(self, most: int) -> F64:
        """Where up points in at least ``most`` windows, evenly spread, or in all."""
        if most not in self._bearings:
            step = max(1, self.count // most)
            self._bearings[most] = self.take_places(np.arange(0, self.count, step))[:, 2]
        return self._bearings[most]

    def thumbnail(self, row: int) -> bytes:
        """The small picture of the window of this number, a JPEG file."""
        if not 0 <= row < self.count:
            raise InvalidValue(f"window {row}: the index has windows 0 to {self.count - 1}.")
        found = self._fan_numbers(
            "select id, jpeg from thumbnails where id = any(%(ids)s)", np.array([row])
        )
        if not found:
            raise BadIndex(f"{self.name} is damaged: a thumbnail is missing.\n{_FILL}")
        return bytes(found[0][1])

    def footprint(self, row: int) -> Footprint:
        """The ground that the window of this number shows."""
        if "_all_places" in self.__dict__:  # a map asks for many
            return place_footprint(self.manifest, self._all_places[row])
        return place_footprint(self.manifest, self.take_places(np.array([row]))[0])

    def require_model(self, fingerprint: str) -> None:
        """Raise ModelMismatch unless the model of this fingerprint made the index."""
        require_same_model(self.name, self.manifest, fingerprint)

    def keep_readable(self) -> None:
        """Nothing: an answer reads what is there when it is asked."""

    # Of all windows, for maps.

    @cached_property
    def _all_places(self) -> F64:
        if self.count > MOST_PLACES:
            raise InvalidValue(
                f"{self.name} holds {self.count:,} windows; maps show up to {MOST_PLACES:,}.\n"
                "Locate without a map, or put a part of the region into an index of its own."
            )
        return self.take_places(np.arange(self.count))

    @property
    def lat(self) -> F64:
        """[N] degrees."""
        return self._all_places[:, 0]

    @property
    def lon(self) -> F64:
        """[N] degrees."""
        return self._all_places[:, 1]

    @property
    def up_bearing_deg(self) -> F64:
        """[N] clockwise from north."""
        return self._all_places[:, 2]

    # Within.

    def _limit(self, limits: SearchArea) -> tuple[str, dict[str, Any]]:
        """What windows within limits are told by: those of a box are looked at here."""
        if limits.everywhere:
            return "true", {}
        boxes = limits.list_boxes()
        inside = " or ".join(
            f"(w.lat between %(s{n})s and %(n{n})s and w.lon between %(w{n})s and %(e{n})s)"
            for n in range(len(boxes))
        )
        values = {
            f"{side}{n}": degrees
            for n, box in enumerate(boxes)
            for side, degrees in zip("swne", box, strict=True)
        }
        statement = f"select w.id, w.lat, w.lon from windows w where {inside}"
        rows = [row for part in self._fan_out(lambda s: s.ask(statement, values)) for row in part]
        table = np.array(rows, np.float64).reshape(-1, 3)
        ids = np.array([row[0] for row in rows], np.int64)
        kept = limits.contains(table[:, 1], table[:, 2])
        return "w.id = any(%(inside)s)", {"inside": ids[kept].tolist()}

    def _read(self, asked: Sequence[Asked], rows: Sequence[tuple[Any, ...]]) -> Candidates:
        """Candidates of rows (id, lat, lon, up, lot, searched, whose, scores and turns)."""
        if any(row[6] != self.fingerprint for row in rows[:1]):
            raise BadIndex(
                f"{self.name} was replaced by another index since it was opened.\nOpen it again."
            )
        numbers = self._to_numbers(np.array([row[0] for row in rows], np.int64))
        found = np.array([row[7:] for row in rows], np.float64).reshape(-1, len(asked), 2)
        bins = asked[0].bins
        turns = np.full(found.shape[:2], np.nan) if bins == 1 else found[:, :, 1] - 1.0
        return Candidates(
            numbers=numbers,
            places=np.array([row[1:4] for row in rows], np.float64).reshape(-1, 3),
            scores=found[:, :, 0].T.astype(np.float32),
            heading_deg=(turns.T * (360.0 / bins)).astype(np.float32),
            chosen=np.zeros(len(rows), np.bool_),
            complete_above=np.full(len(asked), np.inf),
            searched=int(rows[0][5]) if rows else 0,
        )


def _order_shards(shards: Sequence[_Shard]) -> list[_Shard]:
    """The shards of an index in their order; BadIndex where not all are there, each once."""
    said = []
    for shard in shards:
        rows = shard.ask("select version, shard, shards, sealed from facts")
        if len(rows) != 1:
            raise BadIndex(f"{shard.text} holds no index.\n{_FILL}")
        version, number, of, sealed = rows[0]
        if version != len(STEPS):
            raise BadIndex(
                f"{shard.text} has tables of version {version}; this crossview reads version "
                f"{len(STEPS)}.\n"
                + (
                    "Use the crossview that filled it, or a newer one."
                    if version > len(STEPS)
                    else "Let its owner call crossview.index.postgresql.upgrade_tables(address)."
                )
            )
        if not sealed:
            raise BadIndex(f"{shard.text} is not filled to its end.\n{_FILL}")
        said.append((number, of, shard))
    numbers, counts = sorted(number for number, _, _ in said), {of for _, of, _ in said}
    if counts != {len(shards)} or numbers != list(range(1, len(shards) + 1)):
        raise BadIndex(
            f"The index has {max(counts)} shards, and the addresses are those of "
            f"{', '.join(map(str, numbers))}.\nGive each of them once, with "
            f"{SHARD_SEPARATOR!r} between them."
        )
    return [shard for _, _, shard in sorted(said, key=lambda each: each[0])]


def _parse_manifest(text: str, where: str) -> Manifest:
    try:
        return check(Manifest, parse_object(text.encode()))
    except ValueError as problem:
        raise BadIndex(f"{where} has a damaged manifest ({problem}).\n{_FILL}") from problem


# The scan.


class _Scan:
    """SQL that scores all windows of which ``where`` is true, by R readings of a picture."""

    def __init__(self, asked: Sequence[Asked], where: str) -> None:
        self.values: dict[str, Any] = {}
        self._where, self._count = where, len(asked)
        self._best, self._turns = [], []
        for n, one in enumerate(asked):
            products, lengths = self._list_terms(n, one)
            terms = [
                f"({each} / {length})::real" for each, length in zip(products, lengths, strict=True)
            ]
            if one.facing is not None and one.bins > 1:
                priced = (_price(each, one.facing, s, one.bins) for s, each in enumerate(terms))
                terms = [f"({each})::real" for each in priced]
                best = f"greatest({', '.join(terms)})"
            elif len(set(lengths)) == 1:  # all turns see as much: a panorama
                best = f"(greatest({', '.join(products)}) / {lengths[0]})::real"
            else:
                best = f"greatest({', '.join(terms)})"
            self._best.append(best)
            self._turns.append(f"array_position(array[{', '.join(terms)}], s.r{n})")

    def _list_terms(self, n: int, asked: Asked) -> tuple[list[str], list[str]]:
        """The product at each turn, and the length of what is compared of a window."""
        turned, seen = asked.turn()
        masks: dict[bytes, str] = {}
        products, lengths = [], []
        for turn, (vector, mask) in enumerate(zip(turned, seen, strict=True)):
            self.values[f"q{n}_{turn}"] = _Vector(vector)
            products.append(f"-(w.vector <#> %(q{n}_{turn})s)")
            if asked.bins == 1:
                lengths.append("1.0")
                continue
            name = masks.setdefault(mask.astype(np.float32).tobytes(), f"m{n}_{turn}")
            self.values.setdefault(name, _Vector(mask.astype(np.float32)))
            lengths.append(f"sqrt(greatest(-(w.energy <#> %({name})s), {NOTHING}))")
        return products, lengths

    def _scan(self) -> str:
        scores = ", ".join(f"{best} as r{n}" for n, best in enumerate(self._best))
        return (
            f"with scored as materialized (select w.id, {scores} from windows w "
            f"where {self._where})"
        )

    def _tell(self, chosen: str) -> str:
        """Facts of windows; turns, which take as long as the scan, only of those not drawn."""
        facts = ", ".join(
            f"s.r{n}, case when c.chosen then {turn} end" for n, turn in enumerate(self._turns)
        )
        return (
            f"{self._scan()} select w.id, w.lat, w.lon, w.up, "
            "hashint8extended(w.id, %(seed)s::bigint), (select count(*) from scored), "
            "(select sha256 from facts), "
            f"{facts} from (select id, bool_or(chosen) as chosen from ({chosen}) e group by id) c "
            "join scored s using (id) join windows w using (id)"
        )

    def choose_best(self) -> str:
        """The best of each reading, and some by lot, whatever database they lie in."""
        parts = [
            f"(select id, true as chosen from scored order by r{n} desc, id limit %(k)s)"
            for n in range(self._count)
        ]
        lot = "hashint8extended(id, %(seed)s::bigint)"
        parts.append(f"(select id, false from scored order by {lot} limit %(drawn)s)")
        return self._tell(" union all ".join(parts))

    def choose_above(self) -> str:
        """Those that score enough, the best first."""
        return self._tell(
            "select id, true as chosen from scored where r0 >= %(floor)s "
            "order by r0 desc, id limit %(k)s"
        )

    def choose_all(self) -> str:
        """All that are scored."""
        return self._tell("select id, true as chosen from scored")


def _price(cosine: str, facing: Facing, turn: int, bins: int) -> str:
    """A cosine less what its turn costs, as :meth:`similarity.Facing.price` has it."""
    step = 360.0 / bins
    zero = facing.turned_deg - facing.degrees
    around = f"(w.up + {zero + turn * step + 180.0!r})"
    off = f"abs({around} - 360.0 * floor({around} / 360.0) - 180.0)"
    first = f"(w.up + {zero!r})"
    past = f"({first} - {step!r} * floor({first} / {step!r}))"
    nearest = f"least({past}, {step!r} - {past})"
    if facing.sigma_deg is not None:
        cost = TURN_COST / 2.0 / facing.sigma_deg**2
        cosine = f"{cosine} - {cost!r} * (({off})^2 - ({nearest})^2)"
    within = f"greatest({facing.slack_deg!r}, {nearest} + 1e-9)"
    return f"case when {off} <= {within} then {cosine} else '-infinity'::float8 end"


# Filling.


class DatabaseWriter:
    """Fills the shards of an index beside the one of their name, which :meth:`seal` replaces.

    ``units``: how many there will be; those of a shard follow each other. Any number of writers
    may fill one index, if each is told the same.
    """

    def __init__(
        self, address: str | Path, *, dim: int, bins: int, units: int, restart: bool = False
    ) -> None:
        self._addresses = parse_addresses(address)
        self._bins, self._dim, self._of = bins, dim, max(1, units)
        for number, each in enumerate(self._addresses, 1):
            with self._connect(each) as connection:
                if restart:
                    connection.execute(f"drop schema if exists {each.schema}{NEXT} cascade")
                _make_tables(connection, each, number, len(self._addresses), dim, bins)

    @contextmanager
    def _connect(self, address: Address) -> Iterator[Connection[Any]]:
        psycopg = _import_psycopg()
        with (
            _explain(address.text),
            psycopg.connect(
                address.uri, connect_timeout=int(CONNECT_S), application_name="crossview index"
            ) as connection,
        ):
            connection.execute(
                f"set search_path = {address.schema}{NEXT}, {address.schema}, public"
            )
            yield connection

    def put(self, unit: int, vectors: F32, places: F64, thumbnails: Sequence[bytes]) -> bool:
        """Put the windows of a unit, and that it is done, at once; False if it was there already.

        Raises :class:`CannotWrite` where another unit of this number is there.
        """
        require(0 <= unit < self._of, f"units are numbered 0 to {self._of - 1}, got {unit}.")
        address = self._addresses[unit * len(self._addresses) // self._of]
        digest = _digest_unit(vectors, places, thumbnails)
        with self._connect(address) as connection:
            done = connection.execute(
                "insert into units values (%s, %s, %s) on conflict do nothing",
                (unit, len(vectors), digest),
            )
            if done.rowcount == 0:
                held = connection.execute(
                    "select sha256 from units where unit = %s", (unit,)
                ).fetchone()
                if held is None or held[0] != digest:
                    raise CannotWrite(
                        f"{address.text} holds another unit {unit} already.\n"
                        "Fill it with one model, imagery and settings, or begin anew: --restart"
                    )
                return False
            ids = (unit << UNIT_BITS) + np.arange(len(vectors), dtype=np.int64)
            with connection.cursor() as cursor:
                with cursor.copy("copy windows from stdin (format binary)") as copy:
                    copy.write(_encode_windows(ids, vectors, places, self._bins))
                with cursor.copy("copy thumbnails from stdin (format binary)") as copy:
                    copy.write(_encode_thumbnails(ids, thumbnails))
        return True

    def seal(self, manifest: Manifest) -> None:
        """Let the index be read: every shard takes the place of the one of its name.

        Raises :class:`CannotWrite` where units are missing.
        """
        counts = [self._count(address) for address in self._addresses]
        if (found := sum(units for units, _ in counts)) != self._of:
            raise CannotWrite(
                f"{found} of {self._of} units are there; the index cannot be sealed.\n"
                "Put the others first."
            )
        total = sum(windows for _, windows in counts)
        sealed = replace(manifest, segments=(), windows=total)
        values = {**asdict(sealed), "imagery": manifest.imagery.to_json()}
        text = json.dumps(values, indent=1)
        for address in self._addresses:
            with self._connect(address) as connection:
                _exchange(connection, address.schema, text, address.text)

    def _count(self, address: Address) -> tuple[int, int]:
        with self._connect(address) as connection:
            row = connection.execute(
                "select count(*), coalesce(sum(windows), 0) from units"
            ).fetchone()
        return (0, 0) if row is None else (int(row[0]), int(row[1]))


def _make_tables(
    connection: Connection[Any], address: Address, number: int, of: int, dim: int, bins: int
) -> None:
    """The tables of an index that is to be filled, or goes on being filled."""
    _require_index(connection, address.schema, address.text)
    schema = f"{address.schema}{NEXT}"
    connection.execute("select pg_advisory_xact_lock(hashtext(%s))", (schema,))
    found = connection.execute(
        "select 1 from pg_namespace where nspname = %s", (schema,)
    ).fetchone()
    if found is None:
        connection.execute("create extension if not exists vector")
        connection.execute(f"create schema {schema}")
        connection.execute(f"set local search_path = {schema}, public")
        for step in STEPS:
            connection.execute(step.format(dim=dim, bins=bins, storage=_choose_storage(dim)))
        connection.execute(
            "insert into facts (version, shard, shards, dim, bins) values (%s, %s, %s, %s, %s)",
            (len(STEPS), number, of, dim, bins),
        )
        return
    facts = connection.execute(
        f"select version, shard, shards, dim, bins from {schema}.facts"
    ).fetchone()
    if facts != (len(STEPS), number, of, dim, bins):
        raise CannotWrite(
            f"{address.text}: another index is being filled under this name.\n"
            "Finish that, or begin anew: --restart"
        )


def _require_index(connection: Connection[Any], schema: str, where: str) -> None:
    """Raise CannotWrite for a schema of other things: an index that takes its name drops it."""
    row = connection.execute(
        "select count(*), count(*) filter (where relname = 'facts') from pg_class c join "
        "pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relkind = 'r'",
        (schema,),
    ).fetchone()
    tables, ours = row or (0, 0)
    if schema == "public" or (tables and not ours):
        raise CannotWrite(
            f"{where}: the schema {schema} holds other things than an index, and is not touched.\n"
            "Give another name after #, such as postgresql://host/database#town."
        )


def _exchange(connection: Connection[Any], schema: str, manifest: str, where: str) -> None:
    """Let a filled index take its name, in one transaction."""
    _require_index(connection, schema, where)
    rename = "alter schema {} rename to {}"
    connection.execute("analyze windows")
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    connection.execute(
        "update facts set sealed = true, manifest = %s, sha256 = %s", (manifest, digest)
    )
    held = connection.execute("select 1 from pg_namespace where nspname = %s", (schema,))
    rights = _list_rights(connection, schema)
    if held.fetchone() is not None:
        connection.execute(rename.format(schema, schema + BEFORE))
        connection.execute(rename.format(schema + NEXT, schema))
        connection.execute(f"drop schema {schema + BEFORE} cascade")
    else:
        connection.execute(rename.format(schema + NEXT, schema))
    for role in rights:
        connection.execute(f"grant usage on schema {schema} to {role}")
        connection.execute(f"grant select on all tables in schema {schema} to {role}")


def _list_rights(connection: Connection[Any], schema: str) -> list[str]:
    """Roles, quoted, that may read the index that is replaced; they may read the new one."""
    rows = connection.execute(
        "select distinct quote_ident(r.rolname) from pg_namespace n, aclexplode(n.nspacl) a join "
        "pg_roles r on r.oid = a.grantee where n.nspname = %s and a.privilege_type = 'USAGE' "
        "and a.grantee <> n.nspowner",
        (schema,),
    ).fetchall()
    return [str(row[0]) for row in rows]


def _digest_unit(vectors: F32, places: F64, thumbnails: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for array in (vectors.astype("<f4"), places.astype("<f8")):
        digest.update(array.tobytes())
    for jpeg in thumbnails:
        digest.update(hashlib.sha256(jpeg).digest())
    return digest.hexdigest()


_COPY_BEGIN = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)
_COPY_END = struct.pack("!h", -1)


def _encode_windows(ids: I64, vectors: F32, places: F64, bins: int) -> bytes:
    """Rows of the table of windows as COPY takes them: all are of one length."""
    count, dim = vectors.shape
    energy = np.square(vectors).reshape(count, bins, -1).sum(2)
    fields = [("fields", ">i2"), ("id_", ">i4"), ("id", ">i8")]
    for name in ("lat", "lon", "up"):
        fields += [(f"{name}_", ">i4"), (name, ">f8")]
    for name, size in (("vector", dim), ("energy", bins)):
        fields += [(f"{name}_", ">i4"), (f"{name}_dim", ">i2"), (f"{name}_zero", ">i2")]
        fields += [(name, ">f4", (size,))]  # type: ignore[list-item]
    rows = np.zeros(count, np.dtype(fields))
    rows["fields"], rows["id_"], rows["id"] = 6, 8, ids
    for column, name in enumerate(("lat", "lon", "up")):
        rows[f"{name}_"], rows[name] = 8, places[:, column]
    for name, values in (("vector", vectors), ("energy", energy)):
        rows[f"{name}_"], rows[f"{name}_dim"] = 4 + 4 * values.shape[1], values.shape[1]
        rows[name] = values
    return _COPY_BEGIN + rows.tobytes() + _COPY_END


def _encode_thumbnails(ids: I64, thumbnails: Sequence[bytes]) -> bytes:
    buffer = io.BytesIO()
    buffer.write(_COPY_BEGIN)
    for number, jpeg in zip(ids.tolist(), thumbnails, strict=True):
        buffer.write(struct.pack("!hiqi", 2, 8, number, len(jpeg)))
        buffer.write(jpeg)
    buffer.write(_COPY_END)
    return buffer.getvalue()


def upgrade_tables(address: str | Path) -> list[int]:
    """Bring the tables of an index to this version; returns which they had, shard by shard.

    Only their owner may. Each shard in one transaction; windows stay as they are.
    """
    psycopg, before = _import_psycopg(), []
    for each in parse_addresses(address):
        with (
            _explain(each.text),
            psycopg.connect(each.uri, connect_timeout=int(CONNECT_S)) as connection,
        ):
            connection.execute(f"set local search_path = {each.schema}, public")
            version, dim, bins = connection.execute(
                "select version, dim, bins from facts for update"
            ).fetchone()
            for step in STEPS[version:]:
                connection.execute(step.format(dim=dim, bins=bins, storage=_choose_storage(dim)))
            connection.execute("update facts set version = greatest(version, %s)", (len(STEPS),))
            before.append(int(version))
    return before


def _choose_storage(dim: int) -> str:
    """How vectors are kept: in their rows, where they fit."""
    return "plain" if dim <= _PLAIN_DIM else "external"


def list_taken(address: str | Path) -> list[str]:
    """Which of some databases hold an index of the name, in words."""
    psycopg, taken = _import_psycopg(), []
    for each in parse_addresses(address):
        with (
            _explain(each.text),
            psycopg.connect(each.uri, connect_timeout=int(CONNECT_S)) as connection,
        ):
            found = connection.execute(
                "select 1 from pg_namespace where nspname = %s", (each.schema,)
            )
            taken += [each.text] if found.fetchone() is not None else []
    return taken


def fill_database(
    index: Index,
    address: str | Path,
    *,
    unit_windows: int = _TOGETHER,
    restart: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Database:
    """Put an index in a folder into databases; shards are bands of it. Goes on where it was.

    Raises :class:`InvalidValue` for an index with heights, which a database does not hold, and as
    :func:`open_windows`.
    """
    require(
        index.manifest.heights is None,
        f"{index.path} knows heights, which an index in a database cannot hold yet.\n"
        "Build it without --heights.",
    )
    model, count = index.manifest.model, index.count
    size = max(1, min(unit_windows, -(-count // max(1, len(parse_addresses(address))))))
    units = -(-count // size)
    writer = DatabaseWriter(
        address, dim=model.dim, bins=model.azimuth_bins, units=units, restart=restart
    )
    for unit in range(units):
        rows = np.arange(unit * size, min((unit + 1) * size, count))
        jpegs = [index.thumbnail(row) for row in rows.tolist()]
        writer.put(unit, index.take_vectors(rows), index.take_places(rows), jpegs)
        if progress is not None:
            progress(int(rows[-1]) + 1, count)
    writer.seal(index.manifest)
    return open_windows(address)
