"""A database of an older kilonova becomes one of this kilonova at start, with what is in it."""

from __future__ import annotations

import importlib
import pkgutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, inspect, text

import kilonova.cloud
from kilonova.core.errors import Conflict
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, metadata, open_database
from kilonova.kit.db.migrate import migrate

HERE = Path(__file__).parent
SCRIPTS = Path(kilonova.__file__).parent / "migrations"
ADD_COLOUR = """
from alembic import op
import sqlalchemy as sa
revision = "0002_colour"
down_revision = "0001_initial"
def upgrade():
    op.add_column("thing", sa.Column("colour", sa.String(10), nullable=False, server_default="grey"))
"""


def load_tables() -> None:
    for found in pkgutil.walk_packages(kilonova.cloud.__path__, "kilonova.cloud."):
        importlib.import_module(found.name)


def shape(path: Path) -> dict[str, object]:
    """Tables with columns, keys, and indexes."""
    engine = create_engine(f"sqlite:///{path}")
    found = inspect(engine)
    tables = {
        table: (
            sorted((c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(table)),
            found.get_pk_constraint(table)["constrained_columns"],
            sorted((tuple(i["column_names"]), bool(i["unique"])) for i in found.get_indexes(table)),
        )
        for table in found.get_table_names()
    }
    engine.dispose()
    return tables


async def opened(path: Path) -> Database:
    return await open_database(f"sqlite:///{path}", SystemClock())


async def test_the_oldest_schema_becomes_the_present_one(tmp_path: Path) -> None:
    """Whoever changes a table without a migration is told here: see docs/checklists/add-a-table.md."""
    load_tables()
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with sqlite3.connect(old) as raw:
        raw.executescript((HERE / "schema_0001.sql").read_text())
    raw.close()
    for path in (old, new):
        db = await opened(path)
        await migrate(db, metadata, SCRIPTS)
        assert await migrate(db, metadata, SCRIPTS) == "current"
        await db.close()
    assert shape(old) == shape(new)


async def test_a_database_of_a_newer_kilonova_is_left_alone(tmp_path: Path) -> None:
    db = await opened(tmp_path / "newer.db")
    await migrate(db, metadata, SCRIPTS)
    await db.write(lambda tx: tx.execute(text("UPDATE alembic_version SET version_num = '9999_later'")))
    with pytest.raises(Conflict, match="newer kilonova"):
        await migrate(db, metadata, SCRIPTS)
    await db.close()


async def test_a_migration_keeps_rows_and_is_one_transaction(database: Database, tmp_path: Path) -> None:
    first, second = MetaData(), MetaData()
    Table("thing", first, Column("id", Integer, primary_key=True))
    thing = Table("thing", second, Column("id", Integer, primary_key=True), Column("colour", String(10)))
    versions = tmp_path / "versions"
    versions.mkdir()
    (tmp_path / "env.py").write_text((SCRIPTS / "env.py").read_text())
    (versions / "0001_initial.py").write_text((SCRIPTS / "versions" / "0001_initial.py").read_text())
    await database.write(lambda tx: tx.execute(text("DROP TABLE IF EXISTS alembic_version")))
    assert await migrate(database, first, tmp_path) == "new"
    await database.write(lambda tx: tx.execute(text("INSERT INTO thing (id) VALUES (1)")))
    (versions / "0002_colour.py").write_text(ADD_COLOUR + "    raise RuntimeError('no power')\n")
    with pytest.raises(RuntimeError):
        await migrate(database, second, tmp_path)
    (versions / "0002_colour.py").write_text(ADD_COLOUR)
    assert await migrate(database, second, tmp_path) == "from 0001_initial to 0002_colour"
    rows = await database.read(lambda tx: tx.execute(thing.select()).all())
    assert rows == [(1, "grey")]
    await database.write(lambda tx: second.drop_all(tx.connection))
    await database.write(lambda tx: tx.execute(text("DROP TABLE alembic_version")))
