"""Files that a server's guest finds at its first start (`personality`)."""

import sqlalchemy as sa
from alembic import op

revision = "0035_server_files"
down_revision = "0034_aggregate"


def upgrade() -> None:
    """No server has any."""
    op.add_column("server", sa.Column("files", sa.Text(), nullable=False, server_default="[]"))
