"""What happened to servers, for those who watch."""

import sqlalchemy as sa
from alembic import op

revision = "0038_event"
down_revision = "0037_server_password"


def upgrade() -> None:
    """What is stored stays as it is; what happened before is not told."""
    op.create_table(
        "event",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("server_id", sa.String(36), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("event_page", "event", ["project_id", "seq"])
    op.create_table(
        "event_cursor",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.String(36), nullable=False),
        sa.Column("held_until", sa.BigInteger, nullable=False),
    )
