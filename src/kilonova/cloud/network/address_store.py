"""Which addresses are taken. The key (subnet, position) decides between two that want the same address."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Column, ForeignKey, Row, String, Table, bindparam, delete, func, select, update

from kilonova.cloud.network.address import at, parse_address, position
from kilonova.cloud.network.listing_store import chunks
from kilonova.cloud.network.model import FixedIp
from kilonova.cloud.network.subnet_store import Position, pool
from kilonova.core.errors import NoCapacity
from kilonova.kit.db import Tx, insert_new, metadata

address = Table(
    "network_address",
    metadata,
    Column("subnet_id", String(36), ForeignKey("network_subnet.id"), primary_key=True),
    Column("position", Position, primary_key=True),
    Column("address", String(64), nullable=False, index=True),
    Column("port_id", String(36), ForeignKey("network_port.id", ondelete="CASCADE"), nullable=False, index=True),
)

# What every boot runs is composed once: that costs several times what running it does.
_POOLS: Final = select(pool).where(pool.c.subnet_id == bindparam("which")).order_by(pool.c.first).with_for_update()
_TAKEN: Final = (
    select(address.c.position)
    .where(
        address.c.subnet_id == bindparam("which"),
        address.c.position >= bindparam("low"),
        address.c.position <= bindparam("high"),
    )
    .order_by(address.c.position)
    .limit(bindparam("most"))
)
_MOVE: Final = update(pool).where(pool.c.subnet_id == bindparam("which"), pool.c.first == bindparam("begin"))
_OF_PORTS: Final = (
    select(address).where(address.c.port_id.in_(bindparam("which", expanding=True))).order_by(address.c.position)
)

RUN: Final = 512
ATTEMPTS: Final = 64


def take(tx: Tx, subnet_id: str, port_id: str, wanted: str) -> bool:
    """Give a port this very address; False when another has it."""
    place = parse_address(wanted)
    return insert_new(
        tx, address, {"subnet_id": subnet_id, "position": position(place), "address": str(place), "port_id": port_id}
    )


def take_next(tx: Tx, subnet_id: str, port_id: str) -> str:
    """Give a port the next free address of the subnet's pools. Raises NoCapacity when all are taken.

    Each pool has a cursor behind the address given out last, so that one given back is not used again at once, and so
    that finding the next costs one short query however many are taken; only behind a run of taken addresses it reads
    that run, in pieces. The pool's row is locked, so that takers on PostgreSQL wait instead of colliding.
    """
    for row in tx.execute(_POOLS, {"which": subnet_id}).all():
        for _ in range(ATTEMPTS):
            place = _next_free(tx, row)
            if place is None:
                break
            if take(tx, subnet_id, port_id, str(at(place))):
                _move_cursor(tx, row, place)
                return str(at(place))
    raise NoCapacity(f"No more IP addresses available on subnet {subnet_id}.", why="ip_address_generation_failure")


def give_back(tx: Tx, port_id: str, subnet_ids: Iterable[str] | None = None) -> None:
    """A port's addresses (in these subnets only) are free again."""
    gone = delete(address).where(address.c.port_id == port_id)
    tx.execute(gone if subnet_ids is None else gone.where(address.c.subnet_id.in_(list(subnet_ids))))


def give_back_one(tx: Tx, port_id: str, fixed: FixedIp) -> None:
    """One address of a port is free again."""
    tx.execute(
        delete(address).where(
            address.c.port_id == port_id,
            address.c.subnet_id == fixed.subnet_id,
            address.c.position == position(parse_address(fixed.address)),
        )
    )


def holder(tx: Tx, subnet_id: str, wanted: str) -> str | None:
    """The port that has this address."""
    place = position(parse_address(wanted))
    row = tx.execute(select(address.c.port_id).where(address.c.subnet_id == subnet_id, address.c.position == place))
    return row.scalar_one_or_none()


def of_ports(tx: Tx, port_ids: Iterable[str]) -> dict[str, list[FixedIp]]:
    """Addresses by port, in a stable order."""
    found: dict[str, list[FixedIp]] = {}
    for some in chunks(port_ids):
        for row in tx.execute(_OF_PORTS, {"which": list(some)}):
            found.setdefault(row.port_id, []).append(FixedIp(row.subnet_id, row.address))
    return found


def holders(tx: Tx, subnet_id: str, limit: int) -> list[str]:
    """Ports with an address in this subnet, at most `limit`."""
    query = select(address.c.port_id).where(address.c.subnet_id == subnet_id).limit(limit)
    return list(tx.execute(query).scalars())


def count(tx: Tx, subnet_id: str) -> int:
    """How many addresses of the subnet are taken."""
    query = select(func.count()).select_from(address).where(address.c.subnet_id == subnet_id)
    return int(tx.execute(query).scalar_one())


def _next_free(tx: Tx, row: Row[Any]) -> str | None:
    found = _first_gap(tx, row.subnet_id, row.cursor, row.last)
    if found is None and row.cursor > row.first:
        found = _first_gap(tx, row.subnet_id, row.first, row.cursor)
    return found


def _first_gap(tx: Tx, subnet_id: str, low: str, high: str) -> str | None:
    """The lowest free position from `low` to `high`."""
    expected, end, width, limit = int(low, 16), int(high, 16), len(low), 8
    while expected <= end:
        asked = {"which": subnet_id, "low": f"{expected:0{width}x}", "high": high, "most": limit}
        taken = [int(p, 16) for p in tx.execute(_TAKEN, asked).scalars()]
        for value in taken:
            if value != expected:
                return f"{expected:0{width}x}"
            expected += 1
        if len(taken) < limit:
            break
        limit = RUN
    return f"{expected:0{width}x}" if expected <= end else None


def _move_cursor(tx: Tx, row: Row[Any], place: str) -> None:
    following = row.first if place == row.last else f"{int(place, 16) + 1:0{len(place)}x}"
    tx.execute(_MOVE, {"which": row.subnet_id, "begin": row.first, "cursor": following})
