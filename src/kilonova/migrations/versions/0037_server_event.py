"""What became of servers, for who waits and watches."""

import sqlalchemy as sa
from alembic import op

revision = "0037_server_event"
down_revision = "0036_console_token"


def upgrade() -> None:
    """Nothing has happened yet."""
    op.create_table(
        "server_event",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("server_id", sa.String(36), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("phase", sa.String(32), nullable=False),
        sa.Column("before", sa.String(32), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_server_event_at", "server_event", ["at"])
    op.create_index("server_event_project", "server_event", ["project_id", "seq"])
    op.create_index("server_event_server", "server_event", ["server_id", "seq"])
