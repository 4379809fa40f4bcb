"""Floating IPs, subnet pools, address scopes and groups, grants; more columns of ports, subnets and groups."""

import uuid
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005_network"
down_revision = "0004_image"


def upgrade() -> None:
    """New tables, new columns; what was shared or external becomes a grant to everyone."""
    _pools()
    _shared()
    _floating()
    _columns()
    _grants()


def _standard(*columns: Any) -> tuple[Any, ...]:
    return (
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("project_id", sa.String(64), nullable=False, index=True),
        *columns,
    )


def _risen() -> tuple[Any, ...]:
    return (
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )


def _pools() -> None:
    op.create_table(
        "network_address_scope",
        *_standard(sa.Column("name", sa.String(255), nullable=False)),
        sa.Column("ip_version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Index("network_address_scope_order", "created_at", "id"),
    )
    op.create_table(
        "network_subnet_pool",
        *_standard(sa.Column("name", sa.String(255), nullable=False)),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("ip_version", sa.Integer, nullable=False),
        sa.Column("scope_id", sa.String(36), sa.ForeignKey("network_address_scope.id"), index=True),
        sa.Column("prefixes", sa.Text, nullable=False),
        sa.Column("default_prefixlen", sa.Integer, nullable=False),
        sa.Column("min_prefixlen", sa.Integer, nullable=False),
        sa.Column("max_prefixlen", sa.Integer, nullable=False),
        sa.Column("default_quota", sa.BigInteger),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        *_risen(),
        sa.Index("network_subnet_pool_order", "created_at", "id"),
    )


def _shared() -> None:
    op.create_table(
        "network_address_group",
        *_standard(sa.Column("name", sa.String(255), nullable=False)),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("addresses", sa.Text, nullable=False),
        *_risen(),
        sa.Index("network_address_group_order", "created_at", "id"),
    )
    op.create_table(
        "network_grant",
        *_standard(sa.Column("object_type", sa.String(32), nullable=False)),
        sa.Column("object_id", sa.String(36), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("target", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("object_id", "action", "target", name="network_grant_object"),
        sa.Index("network_grant_target", "target", "object_type", "object_id"),
        sa.Index("network_grant_order", "created_at", "id"),
    )


def _floating() -> None:
    port = "network_port.id"
    op.create_table(
        "network_floating_ip",
        *_standard(sa.Column("description", sa.Text, nullable=False)),
        sa.Column("network_id", sa.String(36), sa.ForeignKey("network.id"), nullable=False, index=True),
        sa.Column("address", sa.String(64), nullable=False, index=True),
        sa.Column("floating_port_id", sa.String(36), sa.ForeignKey(port), nullable=False),
        sa.Column("port_id", sa.String(36), sa.ForeignKey(port), index=True),
        sa.Column("fixed_address", sa.String(64)),
        sa.Column("router_id", sa.String(36), sa.ForeignKey("network_router.id"), index=True),
        sa.Column("tags", sa.Text, nullable=False),
        *_risen(),
        sa.UniqueConstraint("network_id", "port_id", "fixed_address", name="network_floating_ip_fixed"),
        sa.Index("network_floating_ip_order", "created_at", "id"),
    )
    whole = sa.ForeignKey("network_floating_ip.id", ondelete="CASCADE")
    op.create_table(
        "network_forwarding",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("floating_ip_id", sa.String(36), whole, nullable=False),
        sa.Column("protocol", sa.String(16), nullable=False),
        sa.Column("external_min", sa.Integer, nullable=False),
        sa.Column("external_max", sa.Integer, nullable=False),
        sa.Column("port_id", sa.String(36), sa.ForeignKey(port), nullable=False, index=True),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("internal_min", sa.Integer, nullable=False),
        sa.Column("internal_max", sa.Integer, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("floating_ip_id", "protocol", "external_min", name="network_forwarding_external"),
        sa.Index("network_forwarding_order", "floating_ip_id", "created_at", "id"),
    )


def _columns() -> None:
    added = {
        "network_port": (
            "allowed_pairs TEXT NOT NULL DEFAULT '[]'",
            "dhcp_options TEXT NOT NULL DEFAULT '[]'",
            "vnic_type VARCHAR(64) NOT NULL DEFAULT 'normal'",
            "profile TEXT NOT NULL DEFAULT '{}'",
        ),
        "network_subnet": (
            "service_types TEXT NOT NULL DEFAULT '[]'",
            "pool_id VARCHAR(36) REFERENCES network_subnet_pool (id)",
        ),
        "security_group_rule": ("remote_addresses VARCHAR(36) REFERENCES network_address_group (id)",),
    }
    # Alembic cannot add a column that refers to another table on SQLite, which knows how.
    for table, columns in added.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    op.add_column("security_group", sa.Column("stateful", sa.Boolean, nullable=False, server_default=sa.true()))
    op.create_index("ix_network_subnet_pool_id", "network_subnet", ["pool_id"])
    op.create_index("ix_security_group_rule_remote_addresses", "security_group_rule", ["remote_addresses"])


def _grants() -> None:
    connection = op.get_bind()
    networks = connection.execute(
        sa.text("SELECT id, project_id, shared, external, created_at FROM network WHERE shared OR external")
    ).all()
    for row in networks:
        for flag, action in ((row.shared, "access_as_shared"), (row.external, "access_as_external")):
            if flag:
                connection.execute(
                    sa.text(
                        "INSERT INTO network_grant (id, project_id, object_type, object_id, action, target, created_at)"
                        " VALUES (:id, :project, 'network', :object, :action, '*', :created)"
                    ),
                    {
                        "id": str(uuid.uuid4()), "project": row.project_id, "object": row.id, "action": action,
                        "created": row.created_at,
                    },
                )  # fmt: skip
