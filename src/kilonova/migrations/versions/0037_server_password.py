"""What a guest told as its password, encrypted by its owner's key."""

import sqlalchemy as sa
from alembic import op

revision = "0037_server_password"
down_revision = "0036_console_token"


def upgrade() -> None:
    """No guest told any."""
    op.add_column("server", sa.Column("password", sa.Text(), nullable=False, server_default=""))
