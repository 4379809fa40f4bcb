"""Databases for every suite: SQLite, and a private PostgreSQL that lives as long as the test session."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from sqlalchemy import create_engine

import kilonova.cloud
import traffic
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, metadata, open_database

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
DATABASE = "kilonova_test"
TOLD = pytest.StashKey[list[str]]()
NEVER_SKIPPED = ("vm", "contract", "client")
REAL = ("test_virt", "test_net", "test_block_file")
EMPTY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
SET session_replication_role = replica;
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE format('DELETE FROM %I', name);
  END LOOP;
END $$
"""
CHEAP = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "32MB",
    "deadlock_timeout": "50ms",
    "max_connections": "200",
}


class Postgresql:
    """A cluster in a directory of its own, run by an unprivileged user, gone with the session (or its sudden death)."""

    def __init__(self) -> None:
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not binaries:
            pytest.fail("PostgreSQL is not installed: apt-get install postgresql (or pytest -m 'not postgresql')")
        self._bin = binaries[-1].parent
        self._dir = Path(tempfile.mkdtemp(prefix="kilonova-postgresql-"))
        self._as: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self._dir, "postgres", "postgres")
            self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._made = False
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._run("initdb", "-D", str(self._dir / "data"), "-U", "kilonova", "-A", "trust", "--no-sync", "-E", "UTF8")
        options = [f"-c{k}={v}" for k, v in {**CHEAP, "port": self._port, "listen_addresses": "127.0.0.1"}.items()]
        command = [str(self._bin / "postgres"), "-D", str(self._dir / "data"), "-k", str(self._dir), *options]
        prefix = [*(self._as or ["setpriv"]), "--pdeathsig=INT"]
        self._server = subprocess.Popen([*prefix, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port), until=200)

    def url(self, name: str) -> str:
        return f"postgresql://kilonova@127.0.0.1:{self._port}/{name}"

    async def fresh(self) -> str:
        """The address of the tests' database, with all tables and nothing in them.

        Emptying it costs a hundredth of copying a template. A test that leaves other tables behind spoils it.
        """
        if not self._made:
            await self._do("postgres", f"CREATE DATABASE {DATABASE}")
            db = await open_database(self.url(DATABASE), SystemClock())
            await db.write(lambda tx: metadata.create_all(tx.connection))
            await db.close()
            self._made = True
        await self._do(DATABASE, EMPTY)
        return self.url(DATABASE)

    def stop(self) -> None:
        self._server.terminate()
        try:
            self._server.wait(10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        shutil.rmtree(self._dir, ignore_errors=True)

    async def _do(self, database: str, statement: str) -> None:
        connection = await asyncpg.connect(self.url(database))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _run(self, program: str, *arguments: str, until: int = 1) -> None:
        for _ in range(until):
            command = [*self._as, str(self._bin / program), *arguments]
            done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60)
            if done.returncode == 0:
                return
        pytest.fail(f"{program}: {done.stderr}")


def declare_tables() -> None:
    """Import every module that declares tables."""
    for module in pkgutil.walk_packages(kilonova.cloud.__path__, "kilonova.cloud."):
        if "store" in (name := module.name.rpartition(".")[2]) or name == "table":
            importlib.import_module(module.name)
    importlib.import_module("kilonova.kit.ops.store")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with all tables."""
    declare_tables()
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = create_engine(f"sqlite:///{path}")
    metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Postgresql]:
    """The session's PostgreSQL."""
    declare_tables()
    server = Postgresql()
    yield server
    server.stop()


@pytest.fixture
async def postgresql_url(postgresql_server: Postgresql) -> str:
    """The address of an empty PostgreSQL database with all tables."""
    return await postgresql_server.fresh()


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The address of a fresh SQLite database with all tables."""
    shutil.copy(sqlite_template, tmp_path / "test.db")
    return f"sqlite:///{tmp_path}/test.db"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty database with all tables; the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database with all tables; the test runs once on each kind."""
    db = await open_database(database_url, SystemClock())
    yield db
    await db.close()


@pytest.fixture(scope="session")
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Write a line into the log's summary: guests booted, seeds drawn, figures seen."""
    return request.config.stash.setdefault(TOLD, []).append


def pytest_configure(config: pytest.Config) -> None:
    traffic.listen()
    config.pluginmanager.register(Collector())


class Collector:
    """Where tests are spread over processes (`-n 2`): who runs what, and what each process was told."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        scheduling = importlib.import_module("xdist.scheduler").LoadScopeScheduling

        class Groups(scheduling):  # type: ignore[misc, valid-type]
            def _split_scope(self, nodeid: str) -> str:
                return _group(nodeid.partition("::")[0])

        return Groups(config, log)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        told = getattr(node, "workeroutput", {}).get("told", [])
        node.config.stash.setdefault(TOLD, []).extend(told)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["told"] = session.config.stash.get(TOLD, [])


def _group(path: str) -> str:
    """What must run in one process, in its order: all that works on this machine's networks and hypervisor, all that
    shares the clients' cloud, and otherwise each file."""
    folder, _, name = path.removeprefix("tests/").partition("/")
    if folder == "vm" or name == "test_client_guest.py" or (folder == "contract" and name.startswith(REAL)):
        return "machine"
    return "client" if folder == "client" else path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(TOLD, []):
        terminalreporter.section("what real and simulated clouds told")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _refuse_skip((yield), item)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _refuse_skip((yield), collector)


def _refuse_skip(report: Report, node: pytest.Item | pytest.Collector) -> Report:
    """In CI a real guest, a driver or a client that is not tried counts as broken."""
    among = set(NEVER_SKIPPED) & {*node.path.parts, *(mark.name for mark in node.iter_markers())}
    if os.environ.get("CI") == "true" and report.skipped and among and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped in CI: {report.longrepr}"
    return report
