"""Rows of networks. `shared` says that everyone has a grant, and `external` that anyone has one to reach the outside by
it: columns beside the grants, as every boot asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    Column,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    literal,
    or_,
    select,
    update,
)

from kilonova.cloud.network.grant_store import EXTERNAL, SHARED, granted, seen_shared
from kilonova.cloud.network.listing_store import Fields, chunks, page
from kilonova.cloud.network.model import ACTIVE, Listing, Network
from kilonova.cloud.network.subnet_store import ids_by_network, subnet
from kilonova.core.context import Scope
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, json_column, metadata

network = Table(
    "network",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(64), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("description", Text, nullable=False),
    Column("admin_up", Boolean, nullable=False),
    Column("shared", Boolean, nullable=False),
    Column("external", Boolean, nullable=False),
    Column("mtu", Integer, nullable=False),
    Column("dns_domain", String(255), nullable=False),
    Column("port_security", Boolean, nullable=False),
    json_column("tags"),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("network_order", "created_at", "id"),
)

KIND: Final = "network"

_SAME: Final = (
    "id", "project_id", "name", "description", "admin_up", "shared", "external", "mtu", "dns_domain", "port_security",
    "revision", "created_at", "updated_at",
)  # fmt: skip
# What every boot runs is composed once: that costs several times what running it does.
_HOLD: Final = select(network).where(network.c.id == bindparam("which")).with_for_update(read=True, key_share=True)
_ONE_OF_ALL: Final = select(network, seen_shared(network, KIND, None).label("granted")).where(
    network.c.id == bindparam("which")
)
_WHOSE: Final[BindParameter[str]] = bindparam("whose")
_ONE: Final = select(network, seen_shared(network, KIND, _WHOSE).label("granted")).where(
    network.c.id == bindparam("which"),
    or_(
        network.c.project_id == _WHOSE,
        network.c.id.in_(granted(KIND, _WHOSE, SHARED, EXTERNAL)),
    ),
)
_NAMES: Final = select(network.c.id, network.c.name).where(network.c.id.in_(bindparam("which", expanding=True)))
FIELDS: Final[Fields] = {**{name: network.c[name] for name in _SAME}, "status": literal(ACTIVE)}


def add(tx: Tx, row: Network) -> None:
    """A new network."""
    values = {name: getattr(row, name) for name in _SAME}
    tx.execute(insert(network).values(**values, tags=list(row.tags)))


def get(tx: Tx, scope: Scope, network_id: str) -> Network:
    """One network that the scope may see. Raises NotFound."""
    one = _ONE_OF_ALL if scope.is_all else _ONE
    row = tx.execute(one, {"which": network_id, **({} if scope.is_all else {"whose": scope.project_id})}).one_or_none()
    if row is None:
        raise NotFound(f"Network {network_id} could not be found.", why="network_not_found")
    return _network(row, ids_by_network(tx, [network_id]).get(network_id, ()))


def get_own(tx: Tx, scope: Scope, network_id: str) -> Network:
    """One network that the scope may change: seen but not owned is NotFound too."""
    found = get(tx, scope, network_id)
    if not scope.is_all and found.project_id != scope.project_id:
        raise NotFound(f"Network {network_id} could not be found.", why="network_not_found")
    return found


def hold(tx: Tx, network_id: str) -> Network:
    """One network (without its list of subnets), kept from being deleted until the commit. Raises NotFound."""
    row = tx.execute(_HOLD, {"which": network_id}).one_or_none()
    if row is None:
        raise NotFound(f"Network {network_id} could not be found.", why="network_not_found")
    return _network(row, ())


def lock(tx: Tx, network_id: str) -> None:
    """Let nobody else `hold` or change this network until the commit."""
    tx.execute(select(network.c.id).where(network.c.id == network_id).with_for_update())


def find(tx: Tx, scope: Scope, listing: Listing) -> list[Network]:
    """A page of what the scope may see."""
    fields = {**FIELDS, "shared": seen_shared(network, KIND, scope.project_id)}
    rows = page(tx, network, _visible(_seen(scope), scope), fields, listing)
    subnets = ids_by_network(tx, [r.id for r in rows])
    return [_network(r, subnets.get(r.id, ())) for r in rows]


def usable(tx: Tx, project_id: str) -> list[Network]:
    """Networks that a server of the project may get unasked: its own and shared ones that are up, are not external and
    have a subnet; at most two, as more than one is already too many."""
    query = (
        select(network)
        .where(
            or_(network.c.project_id == project_id, network.c.id.in_(granted(KIND, project_id))),
            ~network.c.external,
            network.c.admin_up,
            network.c.id.in_(select(subnet.c.network_id)),
        )
        .order_by(network.c.created_at, network.c.id)
        .limit(2)
    )
    return [_network(r, ()) for r in tx.execute(query)]


def exists(tx: Tx) -> bool:
    """Whether there is any network at all."""
    return tx.execute(select(network.c.id).limit(1)).first() is not None


def names(tx: Tx, network_ids: Iterable[str]) -> dict[str, str]:
    """Names by id."""
    found: dict[str, str] = {}
    for some in chunks(network_ids):
        rows = tx.execute(_NAMES, {"which": list(some)})
        found.update((r.id, r.name) for r in rows)
    return found


def change(tx: Tx, network_id: str, values: Mapping[str, Any] | None = None) -> None:
    """Set columns, or none, and let the revision rise: what the network's document says is new."""
    risen = {"revision": network.c.revision + 1, "updated_at": tx.now}
    tx.execute(update(network).where(network.c.id == network_id).values(**{**(values or {}), **risen}))


def remove(tx: Tx, network_id: str) -> None:
    """Delete the row; nothing refers to it any more."""
    tx.execute(delete(network).where(network.c.id == network_id))


def _visible(query: Select[Any], scope: Scope) -> Select[Any]:
    if scope.is_all:
        return query
    seen = granted(KIND, scope.project_id, SHARED, EXTERNAL)
    return query.where(or_(network.c.project_id == scope.project_id, network.c.id.in_(seen)))


def _seen(scope: Scope) -> Select[Any]:
    return select(network, seen_shared(network, KIND, scope.project_id).label("granted"))


def visible_ids(scope: Scope) -> Select[Any]:
    """A subquery: the ids of what the scope may see."""
    return _visible(select(network.c.id), scope)


def owned_ids(scope: Scope) -> Select[Any]:
    """A subquery: the ids of the scope's own networks."""
    return select(network.c.id).where(network.c.project_id == scope.project_id)


def _network(row: Row[Any], subnets: Iterable[str]) -> Network:
    same = {name: getattr(row, name) for name in _SAME}
    same["shared"] = bool(getattr(row, "granted", row.shared))
    return Network(**same, tags=tuple(row.tags), subnets=tuple(subnets))
