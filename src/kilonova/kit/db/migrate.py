"""Bringing a database to the present schema. Alembic is loaded only when the schema differs."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, MetaData, inspect, text

from kilonova.core.errors import Conflict
from kilonova.kit.db.database import Database
from kilonova.kit.db.tx import Tx


async def migrate(db: Database, metadata: MetaData, scripts: Path) -> str:
    """Make or update all tables; answers `new`, `current`, or `from OLD to NEW`.

    Revisions are the files `NNNN_name.py` below `scripts`/versions; the newest is what `metadata` describes. Raises
    Conflict for a database of a newer kilonova.
    """
    head = max(path.stem for path in (scripts / "versions").glob("[0-9]*.py"))
    return await db.write(lambda tx: _bring_to(tx, metadata, scripts, head))


def _bring_to(tx: Tx, metadata: MetaData, scripts: Path, head: str) -> str:
    connection = tx.connection
    if not inspect(connection).has_table("alembic_version"):
        metadata.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(64) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": head})
        return "new"
    current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    if current == head:
        return "current"
    if current > head:
        raise Conflict(f"The database belongs to a newer kilonova (schema {current}, this one knows {head})")
    upgrade(connection, scripts)
    return f"from {current} to {head}"


def upgrade(connection: Connection, scripts: Path) -> None:
    """Run what is missing, in the transaction of `connection`."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
