"""Guests: per host and server what shall be (the spec) and what was last observed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Column, Index, Integer, Row, String, Table, Text, bindparam, delete, select, update

from kilonova.cloud.host.store import host
from kilonova.cloud.server.model import Guest
from kilonova.kit.db import Tx, insert_new, metadata
from kilonova.wire.guest import GuestObservation, GuestSpec

guest = Table(
    "guest",
    metadata,
    Column("host_id", String(36), primary_key=True),
    Column("server_id", String(36), primary_key=True),
    Column("fence", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("spec", Text, nullable=False),
    Column("observed", Text),
    Column("seen", Integer, nullable=False),
    Index("guest_server", "server_id"),
)

_encode: Final = msgspec.json.Encoder().encode
_spec: Final = msgspec.json.Decoder(GuestSpec).decode
_observation: Final = msgspec.json.Decoder(GuestObservation).decode

# What every boot runs is composed once: that costs several times what running it does.
_IS: Final = (guest.c.host_id == bindparam("where")) & (guest.c.server_id == bindparam("which"))
_ALL: Final = select(guest, host.c.up).join(host, host.c.id == guest.c.host_id)
_ONE: Final = _ALL.where(_IS)
_LOCK_ONE: Final = _ONE.with_for_update(of=guest)
_OF_SERVER: Final = _ALL.where(guest.c.server_id == bindparam("which"))
_CHANGE: Final = update(guest).where(_IS)
_OBSERVE: Final = _CHANGE.where(guest.c.fence <= bindparam("held")).values(
    observed=bindparam("as_seen"), seen=guest.c.seen + 1
)
_LOCK_SEEN: Final = (
    select(guest.c.seen).where(guest.c.server_id == bindparam("which")).order_by(guest.c.host_id).with_for_update()
)
_REMOVE: Final = delete(guest).where(_IS)


def desire(tx: Tx, host_id: str, spec: GuestSpec) -> None:
    """Store what a host shall make of a server."""
    values = {"fence": spec.fence, "version": spec.version, "spec": _encode(spec).decode()}
    new = {"host_id": host_id, "server_id": spec.server_id, "observed": None, "seen": 0, **values}
    if not insert_new(tx, guest, new):
        tx.execute(_CHANGE, {**_is(host_id, spec.server_id), **values})


def get(tx: Tx, host_id: str, server_id: str, *, lock: bool = False) -> Guest | None:
    """One guest; None when the host has none of that server."""
    row = tx.execute(_LOCK_ONE if lock else _ONE, _is(host_id, server_id)).one_or_none()
    return None if row is None else _guest(row)


def of_server(tx: Tx, server_id: str) -> list[Guest]:
    """The guests of a server, on whichever hosts."""
    return [_guest(r) for r in tx.execute(_OF_SERVER, {"which": server_id})]


def of_host(tx: Tx, host_id: str, server_ids: Sequence[str] | None = None) -> list[Guest]:
    """The guests of a host (of these servers only)."""
    query = _ALL.where(guest.c.host_id == host_id)
    if server_ids is not None:
        query = query.where(guest.c.server_id.in_(server_ids))
    return [_guest(r) for r in tx.execute(query)]


def versions(tx: Tx, host_id: str) -> list[tuple[str, int, int]]:
    """(server, version, fence) of all guests of a host."""
    query = select(guest.c.server_id, guest.c.version, guest.c.fence).where(guest.c.host_id == host_id)
    return [(r.server_id, r.version, r.fence) for r in tx.execute(query)]


def observe(tx: Tx, host_id: str, seen: GuestObservation) -> bool:
    """Store an observation unless it was made under an older fence; False when there is no such guest (any more)."""
    values = {**_is(host_id, seen.server_id), "held": seen.fence, "as_seen": _encode(seen).decode()}
    return bool(tx.execute(_OBSERVE, values).rowcount)


def seen_of(tx: Tx, server_id: str) -> int:
    """The sum of what was seen of a server's guests, locked until the commit (see kit.ops.Wait)."""
    return sum(r.seen for r in tx.execute(_LOCK_SEEN, {"which": server_id}))


def seen_on(tx: Tx, host_id: str, server_id: str) -> int:
    """What was seen of a server's guest on one host, locked until the commit; 0 when it is not there."""
    found = get(tx, host_id, server_id, lock=True)
    return 0 if found is None else found.seen


def remove(tx: Tx, host_id: str, server_id: str) -> None:
    """Forget a guest."""
    tx.execute(_REMOVE, _is(host_id, server_id))


def pairs(tx: Tx) -> list[tuple[str, str]]:
    """Every guest as (host, server), for the audit."""
    return [(r.host_id, r.server_id) for r in tx.execute(select(guest.c.host_id, guest.c.server_id))]


def _is(host_id: str, server_id: str) -> dict[str, Any]:
    return {"where": host_id, "which": server_id}


def _guest(row: Row[Any]) -> Guest:
    observed = None if row.observed is None else _observation(row.observed)
    return Guest(row.host_id, row.server_id, _spec(row.spec), observed, row.seen, row.up)
