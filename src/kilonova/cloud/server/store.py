"""Servers, live and gone: all their SQL. Live tables hold live things; deletion moves the record to history."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    false,
    insert,
    or_,
    select,
    true,
    update,
)

from kilonova.cloud.server import trace
from kilonova.cloud.server.model import Before, FlavorCopy, KeyCopy, NicView, Server
from kilonova.cloud.server.phase import MACHINE
from kilonova.core.context import ALL, Scope
from kilonova.core.errors import Conflict, Lost, NotFound, Unavailable
from kilonova.kit.db import Tx, insert_new, json_column, metadata

server = Table(
    "server",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("ec2_id", String(20), nullable=False, unique=True),
    Column("project_id", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("description", String(255)),
    Column("hostname", String(255), nullable=False),
    Column("phase", String(32), nullable=False, index=True),
    Column("fence", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("host_id", String(36), index=True),
    Column("host_name", String(255), nullable=False),
    Column("zone", String(255), nullable=False),
    Column("requested_zone", String(255)),
    json_column("flavor"),
    Column("image_id", String(36), nullable=False),
    json_column("image"),
    json_column("key", nullable=True),
    Column("user_data", Text, nullable=False),
    Column("config_drive", Boolean, nullable=False),
    json_column("metadata"),
    json_column("nics"),
    json_column("security_groups"),
    Column("admin_password", String(255), nullable=False),
    Column("reservation_id", String(32), nullable=False, index=True),
    Column("launch_index", Integer, nullable=False),
    Column("power", String(16), nullable=False),
    json_column("fault", nullable=True),
    Column("locked", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False, index=True),
    Column("launched_at", BigInteger, nullable=False),
    Column("terminated_at", BigInteger, nullable=False),
    Column("locked_by", String(16), nullable=False),
    Column("locked_reason", Text),
    json_column("before", nullable=True),
    json_column("shelved", nullable=True),
    json_column("tags"),
    Column("access_ip4", String(39), nullable=False),
    Column("access_ip6", String(39), nullable=False),
    Column("group_id", String(36), index=True),
    json_column("hints"),
    json_column("files"),
    Column("password", Text, nullable=False),
    Index("server_page", "project_id", "created_at", "id"),
    Index("server_page_all", "created_at", "id"),
    Index("server_name", "project_id", "name"),
)
server_history = Table(
    "server_history",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger, nullable=False, index=True),
    json_column("record"),
    Index("server_history_page", "project_id", "created_at", "id"),
)
idempotency = Table(
    "server_idempotency",
    metadata,
    Column("project_id", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    json_column("server_ids"),
    Column("created_at", BigInteger, nullable=False, index=True),
)

_FIELDS: Final = tuple(f.name for f in fields(Server))

# What every boot and every GET runs is composed once: that costs several times what running it does.
_ONE: Final = select(server).where(server.c.id == bindparam("which"))
_ONE_OF: Final = _ONE.where(server.c.project_id == bindparam("whose"))
_LOCK_ONE: Final = _ONE.with_for_update()
_LOCK_ONE_OF: Final = _ONE_OF.with_for_update()
_ADD: Final = insert(server)
_CHANGE: Final = update(server).where(server.c.id == bindparam("which"))
_MOVE: Final = _CHANGE.where(server.c.version == bindparam("held"))
_TAKEN: Final = select(server.c.id).where(server.c.ec2_id == bindparam("name"))
_PHASES: Final = select(server.c.id, server.c.phase).where(server.c.id.in_(bindparam("which", expanding=True)))
_STRUCTS: Final = frozenset({"flavor", "key", "nics", "before"})
SORT_KEYS: Final = frozenset(
    {"created_at", "updated_at", "name", "id", "phase", "host_name", "project_id", "user_id", "hostname", "launched_at"}
    | {"image_id", "zone", "launch_index"}
)


def add_all(tx: Tx, new: Sequence[Server]) -> None:
    """Insert servers."""
    tx.execute(_ADD, [_row(one) for one in new])
    trace.created(tx, new)


def ec2_taken(tx: Tx, ec2_id: str) -> bool:
    """Whether a live server has this EC2 id."""
    return tx.execute(_TAKEN, {"name": ec2_id}).first() is not None


def get(tx: Tx, scope: Scope, server_id: str) -> Server:
    """A live server. Raises NotFound."""
    return _read(tx, _ONE if scope.is_all else _ONE_OF, scope, server_id)


def lock(tx: Tx, scope: Scope, server_id: str) -> Server:
    """As `get`, and nobody else changes the row until the commit."""
    return _read(tx, _LOCK_ONE if scope.is_all else _LOCK_ONE_OF, scope, server_id)


def _read(tx: Tx, query: Select[Any], scope: Scope, server_id: str) -> Server:
    row = tx.execute(query, {"which": server_id, "whose": scope.project_id}).one_or_none()
    if row is None:
        raise NotFound(f"Instance {server_id} could not be found.")
    return _server(row)


def get_gone(tx: Tx, scope: Scope, server_id: str) -> Server:
    """A deleted server, from history. Raises NotFound."""
    query = select(server_history.c.record).where(server_history.c.id == server_id)
    if not scope.is_all:
        query = query.where(server_history.c.project_id == scope.project_id)
    record = tx.execute(query).scalar_one_or_none()
    if record is None:
        raise NotFound(f"Instance {server_id} could not be found.")
    return _revive(record)


def move(tx: Tx, current: Server, event: str, **values: Any) -> Server:
    """Move a server by an event of its table, by compare-and-set on its state version, with other columns.

    Raises Conflict where the table has no such move, Lost when someone else moved it first.
    """
    phase = MACHINE.next(event, current.phase)
    changed = replace(current, phase=phase, version=current.version + 1, updated_at=tx.now, **values)
    new = _columns(changed, (*values, "phase", "version", "updated_at"))
    if tx.execute(_MOVE, {**new, "which": current.id, "held": current.version}).rowcount != 1:
        raise Lost(f"Server {current.id} changed meanwhile")
    trace.moved(tx, current, changed, event)
    return changed


def edit(tx: Tx, scope: Scope, server_id: str, **values: Any) -> Server:
    """Change columns that are not state. Raises NotFound."""
    current = lock(tx, scope, server_id)
    changed = replace(current, updated_at=tx.now, **values)
    tx.execute(_CHANGE, {**_columns(changed, (*values, "updated_at")), "which": server_id})
    trace.edited(tx, current, changed)
    return changed


def bury(tx: Tx, gone: Server) -> None:
    """Move a server to history."""
    bare = replace(gone, admin_password="", password="", user_data="", files=())
    record = replace(bare, phase="deleted", terminated_at=tx.now, updated_at=tx.now)
    tx.execute(delete(server).where(server.c.id == gone.id))
    row = {"id": gone.id, "project_id": gone.project_id, "user_id": gone.user_id, "name": gone.name}
    stored = {**row, "created_at": gone.created_at, "deleted_at": tx.now, "record": _row(record)}
    insert_new(tx, server_history, stored)
    trace.buried(tx, gone, record)


def page(
    tx: Tx,
    scope: Scope,
    filters: Mapping[str, Any],
    *,
    sort: Sequence[tuple[str, bool]] = (("created_at", True),),
    marker: str | None = None,
    limit: int = 1000,
) -> list[Server]:
    """One page of live servers by keyset: `sort` is (column, descending) pairs; the id is always the last key.

    `filters`: column → value, or a collection of values; `name_like` is a substring; `changed_since` / `changed_before`
    are µs; `address` matches text within the addresses. An unknown marker raises NotFound.
    """
    query = _in_scope(select(server), scope).where(*(_condition(k, v) for k, v in filters.items()))
    keys = [*sort, ("id", sort[-1][1])]
    if marker is not None:
        query = query.where(_after(keys, get(tx, scope, marker)))
    order = [server.c[name].desc() if down else server.c[name].asc() for name, down in keys]
    return [_server(r) for r in tx.execute(query.order_by(*order).limit(limit))]


def page_gone(tx: Tx, scope: Scope, *, marker: str | None = None, limit: int = 1000, since: int = 0) -> list[Server]:
    """Deleted servers, newest first, by keyset."""
    history = server_history
    query = select(history.c.record).where(history.c.deleted_at >= since)
    if not scope.is_all:
        query = query.where(history.c.project_id == scope.project_id)
    if marker is not None:
        at = get_gone(tx, scope, marker)
        older = and_(history.c.created_at == at.created_at, history.c.id < at.id)
        query = query.where(or_(history.c.created_at < at.created_at, older))
    rows = tx.execute(query.order_by(history.c.created_at.desc(), history.c.id.desc()).limit(limit))
    return [_revive(r.record) for r in rows]


def used(tx: Tx, scope: Scope, start: int, end: int, *, marker: str | None, limit: int) -> list[Server]:
    """Servers, living and gone, that had been started by `end` and were not gone by `start` (µs), by id. An unknown
    marker raises NotFound."""
    live = _in_scope(select(server), scope).where(server.c.launched_at > 0, server.c.launched_at < end)
    history = server_history
    gone = select(history.c.record).where(history.c.deleted_at > start, history.c.created_at < end)
    if not scope.is_all:
        gone = gone.where(history.c.project_id == scope.project_id)
    if marker is not None:
        if not tx.execute(select(server.c.id).where(server.c.id == marker)).first():
            get_gone(tx, ALL, marker)
        live, gone = live.where(server.c.id > marker), gone.where(history.c.id > marker)
    found = [_server(r) for r in tx.execute(live.order_by(server.c.id).limit(limit))]
    found += itertools.islice(_started(tx, gone, end, limit), limit)
    return sorted(found, key=lambda one: one.id)[:limit]


def _started(tx: Tx, gone: Select[Any], end: int, limit: int) -> Iterator[Server]:
    """Those of deleted servers, by id, that had ever been started by `end`."""
    last = ""
    while True:
        page = gone.where(server_history.c.id > last).order_by(server_history.c.id).limit(limit)
        rows = [_revive(r.record) for r in tx.execute(page)]
        yield from (one for one in rows if 0 < one.launched_at < end)
        if len(rows) < limit:
            return
        last = rows[-1].id


def recall(tx: Tx, project_id: str, key: str, fingerprint: str) -> list[str] | None:
    """What an idempotency key made before, None when it is new. Raises Conflict when it was a different request."""
    bound = select(idempotency).where(idempotency.c.project_id == project_id, idempotency.c.key == key)
    stored = tx.execute(bound).one_or_none()
    if stored is None:
        return None
    if stored.fingerprint != fingerprint:
        raise Conflict("This Idempotency-Key was used for a different request")
    return list(stored.server_ids)


def remember(tx: Tx, project_id: str, key: str, fingerprint: str, server_ids: list[str]) -> None:
    """Bind an idempotency key to what it made. Raises Unavailable when the same request is just being served."""
    row = {"project_id": project_id, "key": key, "fingerprint": fingerprint, "server_ids": server_ids}
    if not insert_new(tx, idempotency, {**row, "created_at": tx.now}):
        raise Unavailable("A request with this Idempotency-Key is being served; ask again")


def forget(tx: Tx, before: int, limit: int = 500) -> int:
    """Drop idempotency keys and history older than `before`; answers how many rows went."""
    keys = select(idempotency.c.key).where(idempotency.c.created_at < before).limit(limit).scalar_subquery()
    went = tx.execute(delete(idempotency).where(idempotency.c.created_at < before, idempotency.c.key.in_(keys)))
    old = select(server_history.c.id).where(server_history.c.deleted_at < before).limit(limit)
    ids = [r.id for r in tx.execute(old)]
    if ids:
        tx.execute(delete(server_history).where(server_history.c.id.in_(ids)))
    return int(went.rowcount) + len(ids)


def discarded(tx: Tx, before: int, limit: int = 100) -> list[str]:
    """The servers that were put aside before a moment."""
    waiting = and_(server.c.phase == "soft_deleted", server.c.updated_at < before)
    return list(tx.execute(select(server.c.id).where(waiting).limit(limit)).scalars())


def ids(tx: Tx) -> dict[str, tuple[str, str | None]]:
    """Every live server: id → (phase, host id), for the audit."""
    rows = tx.execute(select(server.c.id, server.c.phase, server.c.host_id))
    return {r.id: (r.phase, r.host_id) for r in rows}


def on_host(tx: Tx, host_id: str) -> list[Server]:
    """The live servers on a host, the oldest first."""
    query = select(server).where(server.c.host_id == host_id).order_by(server.c.created_at, server.c.id)
    return [_server(row) for row in tx.execute(query)]


def owners(tx: Tx) -> list[str]:
    """The projects that have live servers."""
    return [row.project_id for row in tx.execute(select(server.c.project_id).distinct())]


def owned_by(tx: Tx, project_ids: Sequence[str]) -> list[tuple[str, str]]:
    """(server, project) of every live server of these projects, for the audit."""
    if not project_ids:
        return []
    rows = tx.execute(select(server.c.id, server.c.project_id).where(server.c.project_id.in_(project_ids)))
    return [(row.id, row.project_id) for row in rows]


def known(tx: Tx, server_ids: Sequence[str]) -> dict[str, Server]:
    """Servers by id, living and gone; those that are neither are missing."""
    gone = tx.execute(select(server_history.c.id, server_history.c.record).where(server_history.c.id.in_(server_ids)))
    living = tx.execute(select(server).where(server.c.id.in_(server_ids)))
    return {r.id: _revive(r.record) for r in gone} | {r.id: _server(r) for r in living}


def phases(tx: Tx, server_ids: Sequence[str]) -> dict[str, str]:
    """The phases of live servers by id."""
    if not server_ids:
        return {}
    rows = tx.execute(_PHASES, {"which": list(server_ids)})
    return {r.id: r.phase for r in rows}


def _in_scope(query: Select[Any], scope: Scope) -> Select[Any]:
    return query if scope.is_all else query.where(server.c.project_id == scope.project_id)


def _condition(name: str, value: Any) -> Any:
    if name == "name_like":
        return server.c.name.contains(value, autoescape=True)
    if name == "phase_not":
        return server.c.phase.not_in(tuple(value))
    if name == "changed_since":
        return server.c.updated_at >= value
    if name == "changed_before":
        return server.c.updated_at <= value
    if name == "address":
        return server.c.nics.like("%" + str(value).replace("%", "") + "%")
    if isinstance(value, list | tuple | set | frozenset):
        return server.c[name].in_(tuple(value)) if value else false()
    return true() if value is None else server.c[name] == value


def _after(keys: Sequence[tuple[str, bool]], at: Server) -> Any:
    """Rows that come after `at` in the order of `keys`."""
    alternatives = []
    for i, (name, down) in enumerate(keys):
        column, value = server.c[name], getattr(at, name)
        same = [server.c[k] == getattr(at, k) for k, _ in keys[:i]]
        alternatives.append(and_(*same, column < value if down else column > value))
    return or_(*alternatives)


def _row(one: Server) -> dict[str, Any]:
    return _columns(one, _FIELDS)


def _columns(one: Server, names: Iterable[str]) -> dict[str, Any]:
    """Some columns of a server; its structs as JSON."""
    row: dict[str, Any] = {name: getattr(one, name) for name in names}
    return {name: msgspec.to_builtins(value) if name in _STRUCTS else value for name, value in row.items()}


def _server(row: Row[Any]) -> Server:
    return _revive({name: getattr(row, name) for name in _FIELDS})


def _revive(row: Mapping[str, Any]) -> Server:
    kept = {name: row[name] for name in _FIELDS if name in row}
    kept["flavor"] = msgspec.convert(row["flavor"], FlavorCopy)
    kept["key"] = msgspec.convert(row["key"], KeyCopy | None)
    kept["nics"] = msgspec.convert(row["nics"], tuple[NicView, ...])
    kept["security_groups"] = tuple(row["security_groups"])
    kept["before"] = msgspec.convert(row.get("before"), Before | None)
    kept["tags"] = tuple(row.get("tags", ()))
    kept["hints"] = dict(row.get("hints", {}))
    kept["password"] = row.get("password", "")
    kept["files"] = tuple((path, data) for path, data in row.get("files", ()))
    return Server(**kept)
