"""The tables of images."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table

from kilonova.kit.db import json_column, metadata

image = Table(
    "image",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("name", String(255)),
    Column("status", String(16), nullable=False),
    Column("visibility", String(16), nullable=False),
    Column("disk_format", String(20)),
    Column("container_format", String(20)),
    Column("min_disk", Integer, nullable=False),
    Column("min_ram", Integer, nullable=False),
    Column("protected", Boolean, nullable=False),
    Column("hidden", Boolean, nullable=False),
    Column("size", BigInteger),
    Column("virtual_size", BigInteger),
    Column("md5", String(32)),
    Column("sha512", String(128)),
    Column("blob", String(80)),
    Column("staged", BigInteger),
    json_column("properties"),
    json_column("tags"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("progress_at", BigInteger, nullable=False),
    Index("image_by_time", "created_at", "id"),
    Index("image_by_owner", "owner", "created_at", "id"),
    Index("image_by_visibility", "visibility", "created_at", "id"),
    Index("image_by_name", "name", "id"),
    Index("image_by_status", "status", "progress_at"),
    Index("image_by_blob", "blob"),
)
"""`progress_at`: when the uploader of a saving image last gave a sign of life."""

image_label = Table(
    "image_label",
    metadata,
    Column("image_id", String(36), ForeignKey("image.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(1), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("value", String(255), nullable=False),
    Index("image_label_by_name", "kind", "name", "value"),
)
"""An index of tags (kind t) and properties (kind p; long values by their first 255 characters) for filters; the image
row itself holds them for reading."""

image_history = Table(
    "image_history",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner", String(64), nullable=False, index=True),
    Column("name", String(255)),
    Column("deleted_at", BigInteger, nullable=False, index=True),
    json_column("document"),
)
"""What is left of deleted images, so that none takes their ids soon. `document`: `created_at`, `updated_at`."""

image_member = Table(
    "image_member",
    metadata,
    Column("image_id", String(36), ForeignKey("image.id", ondelete="CASCADE"), primary_key=True),
    Column("member_id", String(255), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("image_member_by_member", "member_id", "status", "image_id"),
)

image_task = Table(
    "image_task",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("image_id", String(36), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("type", String(20), nullable=False),
    Column("status", String(16), nullable=False),
    json_column("input"),
    Column("message", String(1024), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("image_task_by_time", "created_at", "id"),
    Index("image_task_by_image", "image_id", "created_at", "id"),
)
"""Imports: what was asked for and what became of it. It outlives its image."""
