"""Images are shared with members, and imported by tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0004_image"
down_revision = "0003_identity_credentials"


def upgrade() -> None:
    """What is stored stays as it is."""
    op.add_column("image", sa.Column("staged", sa.BigInteger()))
    op.create_table(
        "image_member",
        sa.Column("image_id", sa.String(36), sa.ForeignKey("image.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("member_id", sa.String(255), primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("image_member_by_member", "image_member", ["member_id", "status", "image_id"])
    op.create_table(
        "image_task",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("image_id", sa.String(36), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("type", sa.String(20), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("message", sa.String(1024), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("image_task_by_time", "image_task", ["created_at", "id"])
    op.create_index("image_task_by_image", "image_task", ["image_id", "created_at", "id"])
