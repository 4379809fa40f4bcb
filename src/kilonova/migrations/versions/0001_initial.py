"""The first schema."""

revision = "0001_initial"
down_revision = None


def upgrade() -> None:
    """A new database is made from the tables themselves; nothing is older than this."""
