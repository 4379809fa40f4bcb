"""Aggregates of hosts."""

import sqlalchemy as sa
from alembic import op

revision = "0034_aggregate"
down_revision = "0033_forced_down"


def upgrade() -> None:
    """What is stored stays as it is."""
    op.create_table(
        "aggregate",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("uuid", sa.String(36), nullable=False, unique=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "aggregate_host",
        sa.Column("aggregate_id", sa.Integer, primary_key=True),
        sa.Column("host_id", sa.String(36), primary_key=True, index=True),
    )
