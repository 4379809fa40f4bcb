"""Application credentials and access rules. They belong to a user, whose id every function takes or returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, String, Table, Text, UniqueConstraint, delete, select

from kilonova.cloud.identity.model import ApplicationCredential
from kilonova.cloud.identity.store import lost
from kilonova.core.access import AccessRule
from kilonova.core.errors import Conflict, Forbidden, NotFound
from kilonova.kit.db import Tx, insert_new, json_column, metadata

identity_application_credential = Table(
    "identity_application_credential",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("project_id", String(64), nullable=False),
    Column("secret", String(255), nullable=False),
    Column("description", Text, nullable=False, default=""),
    Column("expires_at", BigInteger),
    Column("unrestricted", Boolean, nullable=False, default=False),
    Column("created_at", BigInteger, nullable=False),
    json_column("roles"),
    json_column("access_rules", nullable=True),
    UniqueConstraint("user_id", "name", name="identity_application_credential_name"),
    Index("identity_application_credential_project", "project_id"),
)
identity_access_rule = Table(
    "identity_access_rule",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("user_id", String(64), nullable=False),
    Column("service", String(64), nullable=False),
    Column("method", String(16), nullable=False),
    Column("path", String(128), nullable=False),
    UniqueConstraint("user_id", "service", "method", "path", name="identity_access_rule_request"),
)


def _credential(row: Any) -> ApplicationCredential:
    rules = None if row.access_rules is None else tuple(row.access_rules)
    return ApplicationCredential(
        row.id, row.name, row.user_id, row.project_id, tuple(row.roles),
        row.description, row.expires_at, row.unrestricted, rules,
    )  # fmt: skip


def _rule(row: Any) -> AccessRule:
    return AccessRule(row.id, row.service, row.method, row.path)


def create(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add one (`secret`: its hash). Raises Conflict when the user has one of this name."""
    if not insert_new(tx, identity_application_credential, {**values, "created_at": tx.now}):
        raise Conflict(
            "Conflict occurred attempting to store application_credential - "
            f"Duplicate entry found with name {values['name']}."
        )


def get(tx: Tx, identifier: str, user_id: str | None = None) -> ApplicationCredential:
    """One by id, of this user if given. Raises NotFound."""
    return _credential(_row(tx, identifier, user_id))


def find_secret(tx: Tx, *, id: str = "", user_id: str = "", name: str = "") -> tuple[ApplicationCredential, str] | None:
    """One by id, or by its user and name, with the hash of its secret."""
    columns = identity_application_credential.c
    where = [columns.id == id] if id else [columns.user_id == user_id, columns.name == name]
    row = tx.execute(select(identity_application_credential).where(*where)).one_or_none()
    return None if row is None else (_credential(row), row.secret)


def list_credentials(tx: Tx, where: Mapping[str, str], limit: int = 10_000) -> list[ApplicationCredential]:
    """Those whose columns equal `where`, oldest first."""
    columns = identity_application_credential.c
    clauses = [columns[key] == value for key, value in where.items()]
    found = select(identity_application_credential).where(*clauses).order_by(columns.created_at, columns.id)
    return [_credential(row) for row in tx.execute(found.limit(limit))]


def remove(tx: Tx, identifier: str, user_id: str) -> None:
    """Delete one. Raises NotFound."""
    _row(tx, identifier, user_id)
    columns = identity_application_credential.c
    tx.execute(delete(identity_application_credential).where(columns.id == identifier))


def remove_all(tx: Tx, **where: str) -> None:
    """Delete those whose columns equal `where`; with a user's also the access rules."""
    columns = identity_application_credential.c
    tx.execute(delete(identity_application_credential).where(*(columns[k] == v for k, v in where.items())))
    if set(where) == {"user_id"}:
        tx.execute(delete(identity_access_rule).where(identity_access_rule.c.user_id == where["user_id"]))


def remove_lost(tx: Tx) -> None:
    """Delete those of users and projects that are no more, and the access rules of such users."""
    columns = identity_application_credential.c
    of = lost(user=columns.user_id, project=columns.project_id)
    tx.execute(delete(identity_application_credential).where(of))
    tx.execute(delete(identity_access_rule).where(lost(user=identity_access_rule.c.user_id)))


def holders(tx: Tx) -> list[str]:
    """Every user who has one."""
    found = select(identity_application_credential.c.user_id).distinct()
    return [row.user_id for row in tx.execute(found)]


def ensure_rule(tx: Tx, user_id: str, rule: AccessRule) -> AccessRule:
    """The user's rule for this kind of request, made (with the id given) if there is none."""
    values = {"service": rule.service, "method": rule.method, "path": rule.path, "user_id": user_id}
    insert_new(tx, identity_access_rule, {"id": rule.id, **values})
    columns = identity_access_rule.c
    clauses = [columns[key] == value for key, value in values.items()]
    return _rule(tx.execute(select(identity_access_rule).where(*clauses)).one())


def get_rule(tx: Tx, identifier: str, user_id: str) -> AccessRule:
    """One of a user's. Raises NotFound."""
    columns = identity_access_rule.c
    clauses = (columns.id == identifier, columns.user_id == user_id)
    row = tx.execute(select(identity_access_rule).where(*clauses)).one_or_none()
    if row is None:
        raise NotFound(f"Could not find Access Rule: {identifier}.")
    return _rule(row)


def list_rules(tx: Tx, user_id: str, **where: str) -> list[AccessRule]:
    """A user's, those whose columns equal `where`."""
    columns = identity_access_rule.c
    clauses = [columns[key] == value for key, value in where.items()]
    found = select(identity_access_rule).where(columns.user_id == user_id, *clauses)
    return [_rule(row) for row in tx.execute(found.order_by(columns.id).limit(10_000))]


def rules_of(tx: Tx, ids: Sequence[str]) -> tuple[AccessRule, ...]:
    """Rules by id, in no order."""
    found = select(identity_access_rule).where(identity_access_rule.c.id.in_(ids))
    return tuple(_rule(row) for row in tx.execute(found))


def remove_rule(tx: Tx, identifier: str, user_id: str) -> None:
    """Delete one. Raises NotFound, Forbidden while an application credential names it."""
    get_rule(tx, identifier, user_id)
    if any(identifier in (one.access_rules or ()) for one in list_credentials(tx, {"user_id": user_id})):
        raise Forbidden("Access rule is in use by an application credential and cannot be deleted.")
    tx.execute(delete(identity_access_rule).where(identity_access_rule.c.id == identifier))


def _row(tx: Tx, identifier: str, user_id: str | None) -> Any:
    columns = identity_application_credential.c
    clauses = [columns.id == identifier] + ([] if user_id is None else [columns.user_id == user_id])
    row = tx.execute(select(identity_application_credential).where(*clauses)).one_or_none()
    if row is None:
        raise NotFound(f"Could not find Application Credential: {identifier}.")
    return row
