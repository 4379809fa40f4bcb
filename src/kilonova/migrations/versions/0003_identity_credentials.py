"""Application credentials, access rules, credentials, trusts, the catalog and unified limits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_identity_credentials"
down_revision = "0002_identity_people"


def text(name: str, length: int, *, null: bool = False, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=null, primary_key=key)


def upgrade() -> None:
    """New tables only."""
    _application_credentials()
    _credentials_and_trusts()
    _catalog()
    _limits()


def _application_credentials() -> None:
    op.create_table(
        "identity_application_credential",
        text("id", 64, key=True),
        text("name", 255),
        text("user_id", 64),
        text("project_id", 64),
        text("secret", 255),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("unrestricted", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("access_rules", sa.Text),
        sa.UniqueConstraint("user_id", "name", name="identity_application_credential_name"),
    )
    table = "identity_application_credential"
    op.create_index("identity_application_credential_project", table, ["project_id"])
    op.create_table(
        "identity_access_rule",
        text("id", 64, key=True),
        text("user_id", 64),
        text("service", 64),
        text("method", 16),
        text("path", 128),
        sa.UniqueConstraint("user_id", "service", "method", "path", name="identity_access_rule_request"),
    )


def _credentials_and_trusts() -> None:
    op.create_table(
        "identity_credential",
        text("id", 64, key=True),
        text("user_id", 64),
        text("project_id", 64, null=True),
        text("type", 255),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("used_step", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("identity_credential_user", "identity_credential", ["user_id", "type"])
    op.create_index("identity_credential_project", "identity_credential", ["project_id"])
    op.create_table(
        "identity_trust",
        text("id", 64, key=True),
        text("trustor_user_id", 64),
        text("trustee_user_id", 64),
        text("project_id", 64, null=True),
        sa.Column("impersonation", sa.Boolean, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("remaining_uses", sa.Integer),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
    )
    op.create_index("identity_trust_trustor", "identity_trust", ["trustor_user_id"])
    op.create_index("identity_trust_trustee", "identity_trust", ["trustee_user_id"])
    op.create_index("identity_trust_project", "identity_trust", ["project_id"])


def _catalog() -> None:
    op.create_table(
        "identity_region",
        text("id", 255, key=True),
        text("parent_region_id", 255, null=True),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("extra", sa.Text, nullable=False),
    )
    op.create_index("identity_region_parent", "identity_region", ["parent_region_id"])
    op.create_table(
        "identity_service",
        text("id", 64, key=True),
        text("type", 255),
        text("name", 255, null=True),
        sa.Column("description", sa.Text),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("extra", sa.Text, nullable=False),
    )
    op.create_table(
        "identity_endpoint",
        text("id", 64, key=True),
        text("service_id", 64),
        text("region_id", 255, null=True),
        text("interface", 8),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("extra", sa.Text, nullable=False),
    )
    op.create_index("identity_endpoint_service", "identity_endpoint", ["service_id"])
    op.create_index("identity_endpoint_region", "identity_endpoint", ["region_id"])


def _limits() -> None:
    op.create_table(
        "identity_registered_limit",
        text("id", 64, key=True),
        text("service_id", 64),
        text("region_id", 255, null=True),
        text("resource_name", 255),
        sa.Column("default_limit", sa.Integer, nullable=False),
        sa.Column("description", sa.Text),
    )
    resource = ["service_id", "resource_name"]
    op.create_index("identity_registered_limit_resource", "identity_registered_limit", resource)
    region, project, domain = (sa.text(f"coalesce({one}_id, '')") for one in ("region", "project", "domain"))
    op.create_index("identity_registered_limit_unique", "identity_registered_limit", [*resource, region], unique=True)
    op.create_table(
        "identity_limit",
        text("id", 64, key=True),
        text("project_id", 64, null=True),
        text("domain_id", 64, null=True),
        text("service_id", 64),
        text("region_id", 255, null=True),
        text("resource_name", 255),
        sa.Column("resource_limit", sa.Integer, nullable=False),
        sa.Column("description", sa.Text),
    )
    op.create_index("identity_limit_project", "identity_limit", ["project_id"])
    op.create_index("identity_limit_domain", "identity_limit", ["domain_id"])
    op.create_index("identity_limit_resource", "identity_limit", resource)
    op.create_index("identity_limit_unique", "identity_limit", [*resource, region, project, domain], unique=True)
