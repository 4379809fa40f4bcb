"""Domains, projects, users, groups and roles in the database. Identity rows belong to domains, not to projects, so its
functions take no project scope; policy in the edge decides who sees which domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from kilonova.cloud.identity.model import Domain, Group, Kind, Named, Project, Role, User
from kilonova.core.errors import Conflict, Invalid, NotFound
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
    json_column("options"),
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
    json_column("options"),
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
    json_column("options"),
    Column("failures", Integer, nullable=False, default=0),
    Column("failed_at", BigInteger, nullable=False, default=0),
    UniqueConstraint("domain_id", "name", name="identity_user_name"),
)
identity_group = Table(
    "identity_group",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("domain_id", String(64), nullable=False),
    Column("description", Text, nullable=False, default=""),
    Column("created_at", BigInteger, nullable=False),
    json_column("extra"),
    UniqueConstraint("domain_id", "name", name="identity_group_name"),
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
    json_column("options"),
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
    return Domain(row.id, row.name, row.description, row.enabled, row.extra, row.valid_after, row.options)


def _project(row: Any) -> Project:
    return Project(
        row.id,
        row.name,
        row.domain_id,
        row.description,
        row.enabled,
        row.parent_id,
        row.extra,
        row.valid_after,
        row.options,
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
        row.options,
        row.failures,
        row.failed_at,
    )


def _group(row: Any) -> Group:
    return Group(row.id, row.name, row.domain_id, row.description, row.extra)


def _role(row: Any) -> Role:
    return Role(row.id, row.name, row.domain_id or None, row.description, row.extra, row.options)


_TABLES: Final[Mapping[Kind, tuple[Table, Callable[[Any], Any]]]] = {
    "domain": (identity_domain, _domain),
    "project": (identity_project, _project),
    "user": (identity_user, _user),
    "group": (identity_group, _group),
    "role": (identity_role, _role),
}


def create(tx: Tx, kind: Kind, values: Mapping[str, Any]) -> None:
    """Insert one. Raises Conflict when its name (or id) is taken."""
    table, _ = _TABLES[kind]
    blank: dict[str, Any] = {"extra": {}, "created_at": tx.now}
    if "options" in table.c:
        blank["options"] = {}
    if not insert_new(tx, table, {**blank, **values}):
        raise Conflict(
            f"Conflict occurred attempting to store {kind} - Duplicate entry found with name {values['name']}."
        )


def lost(user: Any = None, project: Any = None, domain: Any = None) -> Any:
    """The condition that a column names a user, a project or a domain that is no more."""
    named = ((user, identity_user), (project, identity_project), (domain, identity_domain))
    return or_(
        *(and_(column.is_not(None), column.not_in(select(table.c.id))) for column, table in named if column is not None)
    )


def get(tx: Tx, kind: Kind, identifier: str) -> Any:
    """One by id (a Domain, Project, User or Role). Raises NotFound."""
    table, build = _TABLES[kind]
    row = tx.execute(select(table).where(table.c.id == identifier)).one_or_none()
    if row is None:
        raise NotFound(f"Could not find {kind}: {identifier}.", kind=kind)
    return build(row)


def hold(tx: Tx, kind: Kind, identifier: str, *, alone: bool = False) -> Any:
    """As `get`; nobody deletes it before this transaction ends, nor, when it is held `alone`, holds it meanwhile. Who
    is about to name a row holds it; who changes or deletes one holds it alone."""
    table, build = _TABLES[kind]
    row = tx.execute(select(table).where(table.c.id == identifier).with_for_update(read=not alone)).one_or_none()
    if row is None:
        raise NotFound(f"Could not find {kind}: {identifier}.", kind=kind)
    return build(row)


def hold_domain(tx: Tx, kind: Kind, domain_id: str) -> None:
    """Hold alone every project, user, group or role of a domain."""
    table, _ = _TABLES[kind]
    tx.execute(select(table.c.id).where(table.c.domain_id == domain_id).order_by(table.c.id).with_for_update())


def find(tx: Tx, kind: Kind, named: Named) -> Any | None:
    """One by reference, or None; a domain is found by id or name alone."""
    table, build = _TABLES[kind]
    row = tx.execute(select(table).where(_reference(table, kind, named))).one_or_none()
    return None if row is None else build(row)


def find_login(tx: Tx, named: Named) -> tuple[User, str | None] | None:
    """A user with the hash of its password."""
    row = tx.execute(select(identity_user).where(_reference(identity_user, "user", named))).one_or_none()
    return None if row is None else (_user(row), row.password)


def count_failure(tx: Tx, user_id: str, now: int, since: int) -> None:
    """One more wrong password at `now`; the first one, if the last is older than `since` (µs)."""
    columns = identity_user.c
    count = case((columns.failed_at < since, 1), else_=columns.failures + 1)
    tx.execute(update(identity_user).where(columns.id == user_id).values(failures=count, failed_at=now))


def list_all(
    tx: Tx,
    kind: Kind,
    where: Mapping[str, Any],
    *,
    ids: Sequence[str] | None = None,
    also: Sequence[Any] = (),
    marker: str | None = None,
    limit: int = 10_000,
) -> list[Any]:
    """Those whose columns equal `where` (and whose id is among `ids`), by creation, after the one with the id `marker`.

    A key may say how to compare: `name__contains`, `__startswith`, `__endswith`, `__ne`, `__lt`, `__lte`, `__gt`,
    `__gte`, and with an `i` before it (`name__icontains`) without regard to case. `also`: more conditions, of stores.
    Raises Invalid when the marker is unknown.
    """
    table, build = _TABLES[kind]
    clauses = [_clause(table, key, value) for key, value in where.items()]
    if ids is not None:
        clauses.append(table.c.id.in_(ids[:1000]))
    if marker is not None:
        last = tx.execute(select(table.c.created_at).where(table.c.id == marker)).scalar_one_or_none()
        if last is None:
            raise Invalid(f"There is no {kind} {marker} to begin after.")
        clauses.append(tuple_(table.c.created_at, table.c.id) > (last, marker))
    rows = tx.execute(select(table).where(*clauses, *also).order_by(table.c.created_at, table.c.id).limit(limit))
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
    if not _remove(tx, kind, table.c.id == identifier):
        raise NotFound(f"Could not find {kind}: {identifier}.", kind=kind)


def remove_of_domain(tx: Tx, kind: Kind, domain_id: str) -> list[str]:
    """Move every project, user, group or role of a domain to history; answers their ids."""
    return _remove(tx, kind, _TABLES[kind][0].c.domain_id == domain_id)


def _remove(tx: Tx, kind: Kind, which: Any) -> list[str]:
    table, _ = _TABLES[kind]
    rows = tx.execute(select(table).where(which)).all()
    if rows:
        kept = [{k: v for k, v in row._mapping.items() if k != "password"} for row in rows]
        past = [{"kind": kind, "id": r["id"], "name": r["name"], "deleted_at": tx.now, "row": r} for r in kept]
        tx.execute(insert(identity_history), past)
        tx.execute(delete(table).where(which))
    return [row.id for row in rows]


def gone(tx: Tx, kind: Kind, ids: Sequence[str]) -> list[str]:
    """Those of `ids` that existed and were deleted."""
    past = identity_history.c
    found: list[str] = []
    for at in range(0, len(ids), 1000):
        rows = tx.execute(select(past.id).where(past.kind == kind, past.id.in_(ids[at : at + 1000])))
        found += [row.id for row in rows]
    return found


def forget_projects(tx: Tx, which: Mapping[str, str]) -> None:
    """Let nobody have as the default project one that is on its way out (those whose columns equal `which`)."""
    going = select(identity_project.c.id).where(*(identity_project.c[key] == value for key, value in which.items()))
    left = identity_user.c.default_project_id.in_(going)
    tx.execute(update(identity_user).where(left).values(default_project_id=None))


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
    name, _, how = key.partition("__")
    column: Any = table.c[name]
    if how.startswith("i") and isinstance(value, str):
        column, how, value = func.lower(column), how[1:], value.lower()
    match how:
        case "contains" | "startswith" | "endswith":
            return getattr(column, how)(value, autoescape=True)
        case "lt" | "lte" | "gt" | "gte" | "ne":
            return getattr(column, f"__{how.replace('te', 'e')}__")(value)
    if value is None:
        return or_(column.is_(None), column == "")
    return column == value
