"""Placement: providers, what they have and are like, and who uses it."""

import sqlalchemy as sa
from alembic import op

revision = "0006_placement"
down_revision = "0005_network"


def upgrade() -> None:
    """New tables only."""
    _providers()
    _consumers()
    for name in ("placement_resource_class", "placement_trait"):
        op.create_table(
            name,
            sa.Column("name", sa.String(255), primary_key=True),
            sa.Column("updated_at", sa.BigInteger, nullable=False),
        )


def _providers() -> None:
    op.create_table(
        "placement_provider",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(255), unique=True),
        sa.Column("parent_id", sa.String(36), index=True),
        sa.Column("root_id", sa.String(36), nullable=False, index=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("generation", "created_at", "updated_at")),
    )
    numbers = ("total", "reserved", "min_unit", "max_unit", "step_size")
    op.create_table(
        "placement_inventory",
        _provider_id(),
        sa.Column("resource_class", sa.String(255), primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in numbers),
        sa.Column("allocation_ratio", sa.Float, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("capacity", "used", "updated_at")),
        sa.Index("placement_inventory_class", "resource_class"),
    )
    op.create_table(
        "placement_provider_trait",
        _provider_id(),
        sa.Column("trait", sa.String(255), primary_key=True),
        sa.Index("placement_provider_trait_trait", "trait"),
    )
    op.create_table(
        "placement_provider_aggregate",
        _provider_id(),
        sa.Column("aggregate_id", sa.String(36), primary_key=True),
        sa.Index("placement_provider_aggregate_aggregate", "aggregate_id"),
    )


def _consumers() -> None:
    op.create_table(
        "placement_consumer",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("type", sa.String(255)),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("is_server", sa.Boolean, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Index("placement_consumer_owner", "project_id", "user_id"),
    )
    op.create_table(
        "placement_allocation",
        *(sa.Column(name, sa.String(36), primary_key=True) for name in ("consumer_id", "provider_id")),
        sa.Column("resource_class", sa.String(255), primary_key=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Index("placement_allocation_provider", "provider_id", "resource_class"),
    )


def _provider_id() -> sa.Column[str]:
    return sa.Column(
        "provider_id", sa.String(36), sa.ForeignKey("placement_provider.id", ondelete="CASCADE"), primary_key=True
    )
