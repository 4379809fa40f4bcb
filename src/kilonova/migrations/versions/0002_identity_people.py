"""Groups, options, tags, failed logins, and assignments of groups."""

import sqlalchemy as sa
from alembic import op

revision = "0002_identity_people"
down_revision = "0001_initial"


def upgrade() -> None:
    """Users' assignments stay as they are; those of groups are rows of the same table."""
    for table in ("identity_domain", "identity_project", "identity_user", "identity_role"):
        op.add_column(table, sa.Column("options", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("identity_user", sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("identity_user", sa.Column("failed_at", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("identity_assignment", sa.Column("actor_kind", sa.String(8), nullable=False, server_default="user"))
    op.create_table(
        "identity_group",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("domain_id", sa.String(64), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.UniqueConstraint("domain_id", "name", name="identity_group_name"),
    )
    op.create_table(
        "identity_member",
        sa.Column("group_id", sa.String(64), primary_key=True),
        sa.Column("user_id", sa.String(64), primary_key=True),
    )
    op.create_index("identity_member_user", "identity_member", ["user_id"])
    op.create_table(
        "identity_tag",
        sa.Column("project_id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
    )
    op.create_index("identity_tag_name", "identity_tag", ["name"])
