"""Domains, projects, users and roles in the database. Identity rows belong to domains, not to projects, so its
functions take no project scope; policy in the edge decides who sees which domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from kilonova.cloud.identity.model import Domain, Kind, Named, Project, Role, User
from kilonova.core.errors import Conflict, NotFound
from kilonova.kit.db import Tx, insert_new, json_column, metadata

identity_domain = Table(
    "identity_domain",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("description", Text, nullable=False, default=""),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("valid_after", BigInteger, nullable=False, default=0),
    Column("created_at", BigInteger, nullable=False),
    json_column("extra"),
)
identity_project = Table(
    "identity_project",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("domain_id", String(64), nullable=False),
    Column("parent_id", String(64)),
    Column("description", Text, nullable=False, default=""),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("valid_after", BigInteger, nullable=False, default=0),
    Column("created_at", BigInteger, nullable=False),
    json_column("extra"),
    UniqueConstraint("domain_id", "name", name="identity_project_name"),
    Index("identity_project_parent", "parent_id"),
)
identity_user = Table(
    "identity_user",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("domain_id", String(64), nullable=False),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("default_project_id", String(64)),
    Column("password", String(255)),
    Column("password_expires_at", BigInteger),
    Column("valid_after", BigInteger, nullable=False, default=0),
    Column("created_at", BigInteger, nullable=False),
    json_column("extra"),
    UniqueConstraint("domain_id", "name", name="identity_user_name"),
)
identity_role = Table(
    "identity_role",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("domain_id", String(64), nullable=False, default=""),
    Column("description", Text),
    Column("created_at", BigInteger, nullable=False),
    json_column("extra"),
    UniqueConstraint("domain_id", "name", name="identity_role_name"),
)
identity_history = Table(
    "identity_history",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("deleted_at", BigInteger, nullable=False, index=True),
    json_column("row"),
)


def _domain(row: Any) -> Domain:
    return Domain(row.id, row.name, row.description, row.enabled, row.extra, row.valid_after)


def _project(row: Any) -> Project:
    return Project(
        row.id, row.name, row.domain_id, row.description, row.enabled, row.parent_id, row.extra, row.valid_after
    )


def _user(row: Any) -> User:
    return User(
        row.id,
        row.name,
        row.domain_id,
        row.enabled,
        row.default_project_id,
        row.password_expires_at,
        row.extra,
        row.valid_after,
    )


def _role(row: Any) -> Role:
    return Role(row.id, row.name, row.domain_id or None, row.description, row.extra)


_TABLES: Final[Mapping[Kind, tuple[Table, Callable[[Any], Any]]]] = {
    "domain": (identity_domain, _domain),
    "project": (identity_project, _project),
    "user": (identity_user, _user),
    "role": (identity_role, _role),
}


def create(tx: Tx, kind: Kind, values: Mapping[str, Any]) -> None:
    """Insert one. Raises Conflict when its name (or id) is taken."""
    table, _ = _TABLES[kind]
    if not insert_new(tx, table, {"extra": {}, "created_at": tx.now, **values}):
        raise Conflict(
            f"Conflict occurred attempting to store {kind} - Duplicate entry found with name {values['name']}."
        )


def get(tx: Tx, kind: Kind, identifier: str) -> Any:
    """One by id (a Domain, Project, User or Role). Raises NotFound."""
    table, build = _TABLES[kind]
    row = tx.execute(select(table).where(table.c.id == identifier)).one_or_none()
    if row is None:
        raise NotFound(f"Could not find {kind}: {identifier}.", kind=kind)
    return build(row)


def find(tx: Tx, kind: Kind, named: Named) -> Any | None:
    """One by reference, or None; a domain is found by id or name alone."""
    table, build = _TABLES[kind]
    row = tx.execute(select(table).where(_reference(table, kind, named))).one_or_none()
    return None if row is None else build(row)


def find_login(tx: Tx, named: Named) -> tuple[User, str | None] | None:
    """A user with the hash of its password."""
    row = tx.execute(select(identity_user).where(_reference(identity_user, "user", named))).one_or_none()
    return None if row is None else (_user(row), row.password)


def list_all(
    tx: Tx, kind: Kind, where: Mapping[str, Any], *, ids: Sequence[str] | None = None, limit: int = 10_000
) -> list[Any]:
    """Those whose columns equal `where` (and whose id is among `ids`), by creation; `name__contains` and
    `name__startswith` also match."""
    table, build = _TABLES[kind]
    clauses = [_clause(table, key, value) for key, value in where.items()]
    if ids is not None:
        clauses.append(table.c.id.in_(ids[:1000]))
    rows = tx.execute(select(table).where(*clauses).order_by(table.c.created_at, table.c.id).limit(limit))
    return [build(row) for row in rows]


def change(tx: Tx, kind: Kind, identifier: str, values: Mapping[str, Any]) -> None:
    """Set columns of one. Raises NotFound, or Conflict when the new name is taken."""
    table, _ = _TABLES[kind]
    if "name" in values:
        other = tx.execute(
            select(table.c.id).where(_same_namespace(tx, table, identifier), table.c.name == values["name"])
        ).first()
        if other is not None and other.id != identifier:
            raise Conflict(
                f"Conflict occurred attempting to store {kind} - Duplicate entry found with name {values['name']}."
            )
    try:
        changed = tx.execute(update(table).where(table.c.id == identifier).values(**values)).rowcount
    except IntegrityError as error:
        raise Conflict(f"Conflict occurred attempting to store {kind}.") from error
    if not changed:
        raise NotFound(f"Could not find {kind}: {identifier}.", kind=kind)


def remove(tx: Tx, kind: Kind, identifier: str) -> None:
    """Move one to history, without its secrets. Raises NotFound."""
    table, _ = _TABLES[kind]
    row = tx.execute(select(table).where(table.c.id == identifier)).one_or_none()
    if row is None:
        raise NotFound(f"Could not find {kind}: {identifier}.", kind=kind)
    kept = {key: value for key, value in row._mapping.items() if key != "password"}
    tx.execute(insert(identity_history).values(kind=kind, id=identifier, name=row.name, deleted_at=tx.now, row=kept))
    tx.execute(delete(table).where(table.c.id == identifier))


def holds_anything(tx: Tx, domain_id: str) -> bool:
    """Whether a domain still has projects or users."""
    return any(
        tx.execute(select(table.c.id).where(table.c.domain_id == domain_id).limit(1)).first() is not None
        for table in (identity_project, identity_user)
    )


def has_children(tx: Tx, project_id: str) -> bool:
    """Whether other projects have this one as their parent."""
    found = tx.execute(select(identity_project.c.id).where(identity_project.c.parent_id == project_id).limit(1))
    return found.first() is not None


def _same_namespace(tx: Tx, table: Table, identifier: str) -> Any:
    if "domain_id" not in table.c:
        return table.c.id != ""
    own = select(table.c.domain_id).where(table.c.id == identifier).scalar_subquery()
    return table.c.domain_id == own


def _reference(table: Table, kind: Kind, named: Named) -> Any:
    if named.id is not None:
        return table.c.id == named.id
    if kind == "domain":
        return table.c.name == named.name
    if named.domain_id is not None:
        domain: Any = named.domain_id
    else:
        domain = select(identity_domain.c.id).where(identity_domain.c.name == named.domain_name).scalar_subquery()
    return and_(table.c.name == named.name, table.c.domain_id == domain)


def _clause(table: Table, key: str, value: Any) -> Any:
    column, _, how = key.partition("__")
    if how == "contains":
        return table.c[column].contains(value, autoescape=True)
    if how == "startswith":
        return table.c[column].startswith(value, autoescape=True)
    if value is None:
        return or_(table.c[column].is_(None), table.c[column] == "")
    return table.c[column] == value
