"""Moves of servers between hosts are listed."""

import sqlalchemy as sa
from alembic import op

revision = "0030_migration"
down_revision = "0020_server_actions"


def upgrade() -> None:
    """A new table."""
    texts = {"server_id": 36, "project_id": 64, "user_id": 64, "kind": 16, "status": 16, "source": 255, "dest": 255}
    texts |= {"old_flavor": 255, "new_flavor": 255}
    op.create_table(
        "migration",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("uuid", sa.String(36), nullable=False, unique=True),
        *(sa.Column(name, sa.String(size), nullable=False) for name, size in texts.items()),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_index("migration_server", "migration", ["server_id"])
    op.create_index("migration_page", "migration", ["created_at", "id"])
