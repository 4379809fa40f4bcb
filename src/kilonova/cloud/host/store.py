"""Hosts, claims on them and their debts. The claim is the truth about capacity; everything else is a cache of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Executable,
    Index,
    Integer,
    Row,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    false,
    func,
    insert,
    select,
    update,
)

from kilonova.cloud.host.model import Claim, Debt, Demand, Host, Ratio
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, insert_new, metadata
from kilonova.wire.node import Hello

host = Table(
    "host",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("up", Boolean, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_reason", Text, nullable=False),
    Column("forced_down", Boolean, nullable=False, server_default=false()),
    Column("zone", String(255), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("booted_at", BigInteger, nullable=False, server_default="0"),
    Column("incarnation", String(64), nullable=False),
    Column("hypervisor_type", String(32), nullable=False),
    Column("hypervisor_version", Integer, nullable=False),
    Column("architecture", String(32), nullable=False),
    Column("cpu_info", Text, nullable=False),
    Column("vcpus_total", Integer, nullable=False),
    Column("memory_total", Integer, nullable=False),
    Column("disk_total", Integer, nullable=False),
    Column("vcpus_capacity", Integer, nullable=False),
    Column("memory_capacity", Integer, nullable=False),
    Column("disk_capacity", Integer, nullable=False),
    Column("memory_overhead", Integer, nullable=False),
    Column("vcpus_used", Integer, nullable=False),
    Column("memory_used", Integer, nullable=False),
    Column("disk_used", Integer, nullable=False),
    Column("report_seq", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
claim = Table(
    "host_claim",
    metadata,
    Column("host_id", String(36), primary_key=True),
    Column("consumer", String(64), primary_key=True),
    Column("vcpus", Integer, nullable=False),
    Column("memory_mb", Integer, nullable=False),
    Column("disk_gb", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("host_claim_consumer", "consumer"),
)
debt = Table(
    "host_debt",
    metadata,
    Column("host_id", String(36), primary_key=True),
    Column("server_id", String(36), primary_key=True),
    Column("fence", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# What every boot runs is composed once: that costs several times what running it does.
_ONE: Final = select(host).where(host.c.id == bindparam("which"))
_SOME: Final = select(host).where(host.c.id.in_(bindparam("which", expanding=True)))
_CHANGED: Final = select(host).where(host.c.version >= bindparam("since"))
_HAS: Final = select(claim.c.host_id).where(
    claim.c.host_id == bindparam("which"), claim.c.consumer == bindparam("whose")
)
_CLAIM: Final = insert(claim)
_REPORTED: Final = select(host.c.report_seq).where(host.c.id == bindparam("which")).with_for_update()
_ADVANCE: Final = update(host).where(host.c.id == bindparam("which"))


def greet(tx: Tx, hello: Hello, ratio: Ratio, zone: str) -> Host:
    """A node presents itself: record what its host has, and that it is up."""
    has = hello.inventory
    capacity = {
        "vcpus_capacity": int(has.vcpus * ratio.vcpus),
        "memory_capacity": int(has.memory_mb * ratio.memory),
        "disk_capacity": int(has.disk_gb * ratio.disk),
    }
    facts: dict[str, Any] = {
        "name": hello.name, "up": True, "boot_id": hello.boot_id, "booted_at": hello.booted_at,
        "incarnation": hello.incarnation,
        "hypervisor_type": has.hypervisor_type, "hypervisor_version": has.hypervisor_version,
        "architecture": has.architecture, "cpu_info": has.cpu_info, "vcpus_total": has.vcpus,
        "memory_total": has.memory_mb, "disk_total": has.disk_gb, "memory_overhead": has.memory_overhead_mb,
        "updated_at": tx.now, **capacity,
    }  # fmt: skip
    new = {
        "id": hello.host_id, "enabled": True, "disabled_reason": "", "zone": zone, "vcpus_used": 0, "memory_used": 0,
        "disk_used": 0, "report_seq": 0, "version": tx.now, "created_at": tx.now, **facts,
    }  # fmt: skip
    if not insert_new(tx, host, new):
        known = {**facts, "up": ~host.c.forced_down, "version": _risen(tx)}
        tx.execute(update(host).where(host.c.id == hello.host_id).values(**known))
    return get(tx, hello.host_id)


def get(tx: Tx, host_id: str) -> Host:
    """One host. Raises NotFound."""
    row = tx.execute(_ONE, {"which": host_id}).one_or_none()
    if row is None:
        raise NotFound(f"Host {host_id} could not be found")
    return _host(row)


def find(tx: Tx, host_ids: Iterable[str]) -> list[Host]:
    """Those of these hosts that exist."""
    return [_host(r) for r in tx.execute(_SOME, {"which": list(host_ids)})]


def list_all(tx: Tx) -> list[Host]:
    """Every host, by name."""
    return [_host(r) for r in tx.execute(select(host).order_by(host.c.name))]


def changed_since(tx: Tx, version: int) -> list[Host]:
    """Hosts whose capacity, use or state changed at or after `version`, for the scheduler's cache."""
    return [_host(r) for r in tx.execute(_CHANGED, {"since": version})]


def named(tx: Tx, name: str) -> bool:
    """Whether a host has this name."""
    return tx.execute(select(host.c.id).where(host.c.name == name)).first() is not None


def find_named(tx: Tx, name: str) -> str | None:
    """The id of the host of this name."""
    return tx.execute(select(host.c.id).where(host.c.name == name)).scalar_one_or_none()


def lock(tx: Tx, host_id: str) -> None:
    """Nobody else claims from a host, or changes it, until the commit."""
    tx.execute(select(host.c.id).where(host.c.id == host_id).with_for_update())


def set_zone(tx: Tx, host_id: str, zone: str) -> None:
    """Put a host into a zone."""
    values = {"zone": zone, "version": _risen(tx), "updated_at": tx.now}
    tx.execute(update(host).where(host.c.id == host_id).values(**values))


def names(tx: Tx, host_ids: Iterable[str]) -> dict[str, str]:
    """Names by id."""
    rows = tx.execute(select(host.c.id, host.c.name).where(host.c.id.in_(tuple(host_ids))))
    return {r.id: r.name for r in rows}


def set_up(tx: Tx, host_id: str, up: bool) -> bool:
    """Record that a host lives or does not; True when that is news."""
    changed = (
        update(host).where(host.c.id == host_id, host.c.up != up).values(up=up, version=_risen(tx), updated_at=tx.now)
    )
    return bool(tx.execute(changed).rowcount)


def set_enabled(tx: Tx, host_id: str, enabled: bool, reason: str = "") -> None:
    """Take a host out of scheduling, or back in."""
    values = {"enabled": enabled, "disabled_reason": reason, "version": _risen(tx), "updated_at": tx.now}
    tx.execute(update(host).where(host.c.id == host_id).values(**values))


def force_down(tx: Tx, host_id: str, forced: bool) -> None:
    """Say that a host is down, whatever is heard of it, or that what is heard counts again."""
    values: dict[str, Any] = {"forced_down": forced, "version": _risen(tx), "updated_at": tx.now}
    tx.execute(update(host).where(host.c.id == host_id).values(**values, **({"up": False} if forced else {})))


def down(tx: Tx) -> dict[str, bool]:
    """The hosts that are down; true for those of which an operator says so."""
    return {r.id: r.forced_down for r in tx.execute(select(host.c.id, host.c.forced_down).where(~host.c.up))}


def take_claim(tx: Tx, host_id: str, consumer: str, demand: Demand) -> bool:
    """Claim a host's resources for `consumer`; False when they do not fit (any more) or the host is out of service.

    Claiming again for the same consumer changes nothing and succeeds. Never oversells, however many claim at once.
    """
    if tx.execute(_HAS, {"which": host_id, "whose": consumer}).first() is not None:
        return True
    asked = {"vcpus": demand.vcpus, "memory_mb": demand.memory_mb, "disk_gb": demand.disk_gb}
    more = {"which": host_id, "at": tx.now, **{f"more_{name}": value for name, value in asked.items()}}
    if not tx.execute(_growth(tx.is_sqlite), more).rowcount:
        return False
    tx.execute(_CLAIM, {"host_id": host_id, "consumer": consumer, **asked, "created_at": tx.now})
    return True


@cache
def _growth(is_sqlite: bool) -> Executable:
    """The conditional update that is a claim; composed once for each dialect."""
    vcpus = host.c.vcpus_used + bindparam("more_vcpus", type_=Integer)
    memory = host.c.memory_used + bindparam("more_memory_mb", type_=Integer)
    disk = host.c.disk_used + bindparam("more_disk_gb", type_=Integer)
    greatest = func.max if is_sqlite else func.greatest
    fits = (vcpus <= host.c.vcpus_capacity, memory <= host.c.memory_capacity, disk <= host.c.disk_capacity)
    version = greatest(host.c.version + 1, bindparam("at", type_=BigInteger))
    grown = update(host).where(host.c.id == bindparam("which"), host.c.up, host.c.enabled, *fits)
    return grown.values(vcpus_used=vcpus, memory_used=memory, disk_used=disk, version=version)


def release(tx: Tx, consumer: str, host_id: str | None = None) -> None:
    """Give back what `consumer` claimed (on one host, or wherever); a second release does nothing."""
    gone = delete(claim).where(claim.c.consumer == consumer)
    if host_id is not None:
        gone = gone.where(claim.c.host_id == host_id)
    for row in tx.execute(gone.returning(*claim.c)).all():
        tx.execute(
            update(host)
            .where(host.c.id == row.host_id)
            .values(
                vcpus_used=host.c.vcpus_used - row.vcpus,
                memory_used=host.c.memory_used - row.memory_mb,
                disk_used=host.c.disk_used - row.disk_gb,
                version=_risen(tx),
            )
        )


def swap_claims(tx: Tx, one: str, other: str) -> None:
    """Two consumers exchange what they hold, each all of it; no host's use changes."""
    held = claims_of(tx, [one, other])
    tx.execute(delete(claim).where(claim.c.consumer.in_((one, other))))
    for had in held:
        row = {name: getattr(had, name) for name in ("host_id", "vcpus", "memory_mb", "disk_gb", "created_at")}
        tx.execute(_CLAIM, {**row, "consumer": other if had.consumer == one else one})


def claims(tx: Tx) -> list[tuple[str, str]]:
    """Every claim as (host, consumer), for the audit."""
    return [(r.host_id, r.consumer) for r in tx.execute(select(claim.c.host_id, claim.c.consumer))]


def claims_on(tx: Tx, host_id: str) -> list[Claim]:
    """Every claim on one host."""
    return [_held(row) for row in tx.execute(select(claim).where(claim.c.host_id == host_id))]


def claims_of(tx: Tx, consumers: Collection[str]) -> list[Claim]:
    """Every claim of these consumers."""
    return [_held(row) for row in tx.execute(select(claim).where(claim.c.consumer.in_(tuple(consumers))))]


def miscounted(tx: Tx) -> list[str]:
    """Hosts whose use differs from the sum of their claims. Always empty; the audit proves it."""
    total = (
        select(
            claim.c.host_id,
            func.sum(claim.c.vcpus).label("vcpus"),
            func.sum(claim.c.memory_mb).label("memory"),
            func.sum(claim.c.disk_gb).label("disk"),
        )
        .group_by(claim.c.host_id)
        .subquery()
    )
    off = (
        select(host.c.name)
        .outerjoin(total, total.c.host_id == host.c.id)
        .where(
            ~and_(
                host.c.vcpus_used == func.coalesce(total.c.vcpus, 0),
                host.c.memory_used == func.coalesce(total.c.memory, 0),
                host.c.disk_used == func.coalesce(total.c.disk, 0),
            )
        )
    )
    return [r.name for r in tx.execute(off)]


def add_debt(tx: Tx, host_id: str, server_id: str, fence: int) -> None:
    """A host shall get rid of a guest when it can; a higher fence wins over an older debt."""
    if not insert_new(tx, debt, {"host_id": host_id, "server_id": server_id, "fence": fence, "created_at": tx.now}):
        older = and_(debt.c.host_id == host_id, debt.c.server_id == server_id, debt.c.fence < fence)
        tx.execute(update(debt).where(older).values(fence=fence))


def settle_debts(tx: Tx, host_id: str, gone: Mapping[str, int]) -> None:
    """A host reported these guests absent (server → fence); a report from before the debt settles nothing."""
    for server_id, fence in sorted(gone.items()):
        mine = and_(debt.c.host_id == host_id, debt.c.server_id == server_id)
        tx.execute(delete(debt).where(mine, debt.c.fence <= fence))


def debts(tx: Tx, host_id: str | None = None) -> list[Debt]:
    """What a host (or all of them) still owes."""
    query = select(debt) if host_id is None else select(debt).where(debt.c.host_id == host_id)
    return [Debt(r.host_id, r.server_id, r.fence, r.created_at) for r in tx.execute(query)]


def owes(tx: Tx, host_id: str, server_id: str) -> bool:
    """Whether a host has yet to get rid of an earlier guest of a server."""
    mine = and_(debt.c.host_id == host_id, debt.c.server_id == server_id)
    return tx.execute(select(debt.c.fence).where(mine)).first() is not None


def advance_report(tx: Tx, host_id: str, seen: int) -> int:
    """Up to which number a host's reports are stored, locked until the commit; raised to `seen` if that is higher."""
    stored: int | None = tx.execute(_REPORTED, {"which": host_id}).scalar_one_or_none()
    if stored is None:
        raise NotFound(f"Host {host_id} could not be found")
    if seen > stored:
        tx.execute(_ADVANCE, {"which": host_id, "report_seq": seen})
    return stored


def _risen(tx: Tx) -> Any:
    """A version that rises with every change and is comparable between hosts."""
    return func.max(host.c.version + 1, tx.now) if tx.is_sqlite else func.greatest(host.c.version + 1, tx.now)


def _host(row: Row[Any]) -> Host:
    return Host(**row._asdict())


def _held(row: Row[Any]) -> Claim:
    return Claim(row.host_id, row.consumer, row.vcpus, row.memory_mb, row.disk_gb, row.created_at)
