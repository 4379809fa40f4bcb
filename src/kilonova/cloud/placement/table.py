"""The tables of placement: what outside writers put there, and what servers use of it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, String, Table

from kilonova.kit.db import metadata


def _provider_id() -> Column[str]:
    return Column("provider_id", String(36), ForeignKey("placement_provider.id", ondelete="CASCADE"), primary_key=True)


provider = Table(
    "placement_provider",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(255), unique=True),
    Column("parent_id", String(36), index=True),
    Column("root_id", String(36), nullable=False, index=True),
    Column("generation", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
"""A row without a name belongs to a host: it holds what others say about it, the rest is the host's own row."""

inventory = Table(
    "placement_inventory",
    metadata,
    _provider_id(),
    Column("resource_class", String(255), primary_key=True),
    Column("total", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("min_unit", BigInteger, nullable=False),
    Column("max_unit", BigInteger, nullable=False),
    Column("step_size", BigInteger, nullable=False),
    Column("allocation_ratio", Float, nullable=False),
    Column("capacity", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("placement_inventory_class", "resource_class"),
)
trait = Table(
    "placement_provider_trait",
    metadata,
    _provider_id(),
    Column("trait", String(255), primary_key=True),
    Index("placement_provider_trait_trait", "trait"),
)
aggregate = Table(
    "placement_provider_aggregate",
    metadata,
    _provider_id(),
    Column("aggregate_id", String(36), primary_key=True),
    Index("placement_provider_aggregate_aggregate", "aggregate_id"),
)
consumer = Table(
    "placement_consumer",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(255), nullable=False),
    Column("user_id", String(255), nullable=False),
    Column("type", String(255)),
    Column("generation", BigInteger, nullable=False),
    Column("is_server", Boolean, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("placement_consumer_owner", "project_id", "user_id"),
)
allocation = Table(
    "placement_allocation",
    metadata,
    Column("consumer_id", String(36), primary_key=True),
    Column("provider_id", String(36), primary_key=True),
    Column("resource_class", String(255), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("placement_allocation_provider", "provider_id", "resource_class"),
)
custom_class = Table(
    "placement_resource_class",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("updated_at", BigInteger, nullable=False),
)
custom_trait = Table(
    "placement_trait",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("updated_at", BigInteger, nullable=False),
)
