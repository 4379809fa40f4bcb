"""An operator may say that a host is down."""

import sqlalchemy as sa
from alembic import op

revision = "0033_forced_down"
down_revision = "0032_server_group"


def upgrade() -> None:
    """Nobody has said so yet."""
    op.add_column("host", sa.Column("forced_down", sa.Boolean, nullable=False, server_default=sa.false()))
