"""Servers are locked by someone, tagged, resized, shelved; moves between hosts are listed."""

import sqlalchemy as sa
from alembic import op

revision = "0020_server_actions"
down_revision = "0007_metadef"


def upgrade() -> None:
    """What is stored stays as it is."""
    for name in ("before", "shelved", "locked_reason"):
        op.add_column("server", sa.Column(name, sa.Text()))
    for name, size in (("locked_by", 16), ("access_ip4", 39), ("access_ip6", 39)):
        op.add_column("server", sa.Column(name, sa.String(size), nullable=False, server_default=""))
    op.add_column("server", sa.Column("tags", sa.Text(), nullable=False, server_default="[]"))
