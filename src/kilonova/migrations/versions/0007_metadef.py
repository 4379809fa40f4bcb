"""A catalog of metadata definitions."""

import sqlalchemy as sa
from alembic import op

revision = "0007_metadef"
down_revision = "0006_placement"


def upgrade() -> None:
    """New tables only."""
    op.create_table(
        "metadef_namespace",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(80), nullable=False, unique=True),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("display_name", sa.String(80)),
        sa.Column("description", sa.Text()),
        sa.Column("visibility", sa.String(16), nullable=False),
        sa.Column("protected", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
    )
    for name, columns in {"time": [], "owner": ["owner"], "visibility": ["visibility"]}.items():
        op.create_index(f"metadef_namespace_by_{name}", "metadef_namespace", [*columns, "created_at", "id"])
    namespace = sa.ForeignKey("metadef_namespace.id", ondelete="CASCADE")
    op.create_table(
        "metadef_entry",
        sa.Column("namespace_id", sa.String(36), namespace, primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(80), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("metadef_entry_by_name", "metadef_entry", ["kind", "name"])
    op.create_table(
        "metadef_resource_type",
        sa.Column("name", sa.String(80), primary_key=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
    )
