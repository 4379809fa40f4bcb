"""Server groups, and what servers ask of their hosts."""

import sqlalchemy as sa
from alembic import op

revision = "0032_server_group"
down_revision = "0031_port_next_host"


def upgrade() -> None:
    """No server is in a group yet."""
    op.add_column("server", sa.Column("group_id", sa.String(36)))
    op.create_index("ix_server_group_id", "server", ["group_id"])
    op.add_column("server", sa.Column("hints", sa.Text(), nullable=False, server_default="{}"))
    op.create_table(
        "server_group",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("policy", sa.String(32), nullable=False),
        sa.Column("most", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("server_group_page", "server_group", ["project_id", "created_at", "id"])
