"""Tokens of remote consoles."""

import sqlalchemy as sa
from alembic import op

revision = "0036_console_token"
down_revision = "0035_server_files"


def upgrade() -> None:
    """Nobody has one yet."""
    op.create_table(
        "console_token",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("server_id", sa.String(36), nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_console_token_server_id", "console_token", ["server_id"])
    op.create_index("ix_console_token_expires_at", "console_token", ["expires_at"])
