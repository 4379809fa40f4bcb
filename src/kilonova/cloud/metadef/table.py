"""The tables of metadata definitions."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, String, Table, Text

from kilonova.kit.db import json_column, metadata

namespace = Table(
    "metadef_namespace",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("owner", String(255), nullable=False),
    Column("display_name", String(80)),
    Column("description", Text),
    Column("visibility", String(16), nullable=False),
    Column("protected", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("metadef_namespace_by_time", "created_at", "id"),
    Index("metadef_namespace_by_owner", "owner", "created_at", "id"),
    Index("metadef_namespace_by_visibility", "visibility", "created_at", "id"),
)

entry = Table(
    "metadef_entry",
    metadata,
    Column("namespace_id", String(36), ForeignKey("metadef_namespace.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("name", String(80), primary_key=True),
    json_column("document"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("metadef_entry_by_name", "kind", "name"),
)
"""Objects, properties, tags and associations with resource types."""

resource_type = Table(
    "metadef_resource_type",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
