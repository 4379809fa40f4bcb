"""Which hosts' servers were counted for which period."""

import sqlalchemy as sa
from alembic import op

revision = "0040_usage_audit"
down_revision = "0039_host_booted_at"


def upgrade() -> None:
    """No period was audited."""
    op.create_table(
        "usage_audit",
        sa.Column("ends_at", sa.BigInteger(), primary_key=True),
        sa.Column("begins_at", sa.BigInteger(), primary_key=True),
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("servers", sa.Integer(), nullable=False),
        sa.Column("audited_at", sa.BigInteger(), nullable=False),
    )
