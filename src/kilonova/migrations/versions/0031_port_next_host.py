"""A port may be expected on the host where its server moves while it runs."""

import sqlalchemy as sa
from alembic import op

revision = "0031_port_next_host"
down_revision = "0030_migration"


def upgrade() -> None:
    """Nothing moves yet."""
    op.add_column("network_port", sa.Column("next_host_id", sa.String(36), nullable=False, server_default=""))
    op.create_index("ix_network_port_next_host_id", "network_port", ["next_host_id"])
