"""Relational storage: engines, transactions, column types, migrations. SQLite and PostgreSQL."""

from kilonova.kit.db.column import Json, json_column, metadata
from kilonova.kit.db.database import Database, open_database
from kilonova.kit.db.tx import Tx, insert_new

__all__ = ["Database", "Json", "Tx", "insert_new", "json_column", "metadata", "open_database"]
