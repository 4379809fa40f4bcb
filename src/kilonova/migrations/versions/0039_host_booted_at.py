"""When a host's machine started, for operators."""

import sqlalchemy as sa
from alembic import op

revision = "0039_host_booted_at"
down_revision = "0038_event"


def upgrade() -> None:
    """Not known until a host presents itself again."""
    op.add_column("host", sa.Column("booted_at", sa.BigInteger(), nullable=False, server_default="0"))
