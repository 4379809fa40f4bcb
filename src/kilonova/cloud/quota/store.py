"""Use is a counter changed in the same transaction as what it counts; a ledger row per charge makes refunds exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    String,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from kilonova.cloud.quota.model import DEFAULTS, UNLIMITED, Use
from kilonova.core.errors import QuotaExceeded
from kilonova.kit.db import Tx, insert_new, json_column, metadata

quota_limit = Table(
    "quota_limit",
    metadata,
    Column("project_id", String(64), primary_key=True),
    Column("resource", String(64), primary_key=True),
    Column("limit", BigInteger, nullable=False),
)
quota_use = Table(
    "quota_use",
    metadata,
    Column("project_id", String(64), primary_key=True),
    Column("resource", String(64), primary_key=True),
    Column("used", BigInteger, nullable=False, default=0),
)
quota_charge = Table(
    "quota_charge",
    metadata,
    Column("consumer", String(100), primary_key=True),
    Column("project_id", String(64), nullable=False, index=True),
    json_column("amounts"),
    Column("version", Integer, nullable=False, default=0),
)

# What every boot runs is composed once: that costs several times what running it does.
DEFAULT_CLASS: Final = "class:default"
"""Whose limits are those of every project that has none of its own; no project's id looks like this."""
_LIMITS: Final = select(quota_limit).where(quota_limit.c.project_id.in_((bindparam("whose"), DEFAULT_CLASS)))
_USES: Final = select(quota_use.c.resource, quota_use.c.used).where(quota_use.c.project_id == bindparam("whose"))
_CHARGE: Final = insert(quota_charge)
_GROWN: Final = quota_use.c.used + bindparam("more", type_=BigInteger)
_MOST: Final = bindparam("most", type_=BigInteger)
_GROW: Final = (
    update(quota_use)
    .where(
        quota_use.c.project_id == bindparam("whose"),
        quota_use.c.resource == bindparam("what"),
        or_(_MOST < 0, _GROWN <= _MOST),
    )
    .values(used=_GROWN)
)


def limits(tx: Tx, project_id: str) -> dict[str, int]:
    """Every limit of a project: its own, else the default class's, else the built-in one."""
    rows = tx.execute(_LIMITS, {"whose": project_id}).all()
    common = {r.resource: r.limit for r in rows if r.project_id == DEFAULT_CLASS}
    return {**DEFAULTS, **common, **{r.resource: r.limit for r in rows if r.project_id == project_id}}


def defaults(tx: Tx) -> dict[str, int]:
    """The limits of a project that has none of its own."""
    return limits(tx, DEFAULT_CLASS)


def uses(tx: Tx, project_id: str, resources: Iterable[str]) -> dict[str, Use]:
    """Limit and use of the given resources."""
    limit = limits(tx, project_id)
    rows = tx.execute(_USES, {"whose": project_id})
    used = {r.resource: r.used for r in rows}
    return {r: Use(r, limit[r], used.get(r, 0)) for r in resources}


def set_limit(tx: Tx, project_id: str, resource: str, limit: int) -> None:
    """Set a project's own limit; it may lie below the present use."""
    if not insert_new(tx, quota_limit, {"project_id": project_id, "resource": resource, "limit": limit}):
        tx.execute(update(quota_limit).where(_is(quota_limit, project_id, resource)).values(limit=limit))


def reset_limits(tx: Tx, project_id: str, resources: Iterable[str] | None = None) -> None:
    """Go back to the defaults (of these resources only)."""
    gone = delete(quota_limit).where(quota_limit.c.project_id == project_id)
    tx.execute(gone if resources is None else gone.where(quota_limit.c.resource.in_(list(resources))))


def own_limits(tx: Tx, resources: Iterable[str]) -> dict[str, dict[str, int]]:
    """The limits that projects have of their own, by project, in the order of their ids."""
    found: dict[str, dict[str, int]] = {}
    query = select(quota_limit).where(
        quota_limit.c.resource.in_(list(resources)), quota_limit.c.project_id != DEFAULT_CLASS
    )
    query = query.order_by(quota_limit.c.project_id)
    for row in tx.execute(query):
        found.setdefault(row.project_id, {})[row.resource] = row.limit
    return found


def charge(tx: Tx, project_id: str, consumer: str, amounts: Mapping[str, int], limits_of: str | None = None) -> None:
    """Count `amounts` for `consumer` (such as `server:<id>`); charging a consumer again does nothing.

    `limits_of`: the project whose limits hold, where what is charged is not a project (a user's key pairs).
    Raises QuotaExceeded (facts: resource, limit, used, requested) when one does not fit; the transaction must then end.
    """
    if not insert_new(
        tx, quota_charge, {"consumer": consumer, "project_id": project_id, "amounts": dict(amounts), "version": 0}
    ):
        return
    limit = limits(tx, limits_of or project_id)
    for resource, amount in sorted(amounts.items()):
        if not _add(tx, project_id, resource, amount, limit[resource]):
            used = uses(tx, project_id, [resource])[resource].used
            raise exceeded([Use(resource, limit[resource], used)], {resource: amount})


def charge_each(tx: Tx, project_id: str, consumers: Sequence[str], amounts: Mapping[str, int]) -> None:
    """Charge the same amounts to many new consumers at once. Raises QuotaExceeded when they do not all fit."""
    limit = limits(tx, project_id)
    short = []
    for resource, amount in sorted(amounts.items()):
        if not _add(tx, project_id, resource, amount * len(consumers), limit[resource]):
            short.append(uses(tx, project_id, [resource])[resource])
    if short:
        raise exceeded(short, {u.resource: amounts[u.resource] * len(consumers) for u in short})
    row = {"project_id": project_id, "amounts": dict(amounts), "version": 0}
    tx.execute(_CHARGE, [{"consumer": c, **row} for c in consumers])


def refuse_beyond(resource: str, limit: int, used: int) -> None:
    """Raises QuotaExceeded when one more does not fit within a limit that is the same for every project."""
    if used >= limit:
        raise exceeded([Use(resource, limit, used)], {resource: 1})


def exceeded(short: Sequence[Use], requested: Mapping[str, int]) -> QuotaExceeded:
    """The refusal, in Nova's words; facts name the first resource."""
    names = ", ".join(u.resource for u in short)
    asked = ", ".join(str(requested[u.resource]) for u in short)
    used = ", ".join(str(u.used) for u in short)
    allowed = ", ".join(str(u.limit) for u in short)
    first = short[0]
    return QuotaExceeded(
        f"Quota exceeded for {names}: Requested {asked}, but already used {used} of {allowed} {names}",
        resource=first.resource,
        limit=first.limit,
        used=first.used,
        requested=requested[first.resource],
    )


def refund(tx: Tx, consumer: str) -> None:
    """Give back exactly what `consumer` was charged; a second refund does nothing."""
    row = tx.execute(
        delete(quota_charge)
        .where(quota_charge.c.consumer == consumer)
        .returning(quota_charge.c.project_id, quota_charge.c.amounts)
    ).one_or_none()
    if row is None:
        return
    for resource, amount in sorted(row.amounts.items()):
        tx.execute(
            update(quota_use).where(_is(quota_use, row.project_id, resource)).values(used=quota_use.c.used - amount)
        )


def replace(tx: Tx, project_id: str, gone: Sequence[str], consumer: str, amounts: Mapping[str, int]) -> None:
    """`consumer` is charged `amounts` in place of all that these were charged: no limit is asked, since what grew was
    charged when it was asked for."""
    for one in gone:
        refund(tx, one)
    row = {"consumer": consumer, "project_id": project_id, "amounts": dict(amounts), "version": 0}
    if insert_new(tx, quota_charge, row):
        for resource, amount in sorted(amounts.items()):
            _add(tx, project_id, resource, amount, UNLIMITED)


def recount(tx: Tx) -> list[tuple[str, str, int, int]]:
    """Where counter and ledger differ: (project, resource, counter, ledger). Always empty; the audit proves it."""
    ledger: dict[tuple[str, str], int] = {}
    for row in tx.execute(select(quota_charge.c.project_id, quota_charge.c.amounts)):
        for resource, amount in row.amounts.items():
            key = (row.project_id, resource)
            ledger[key] = ledger.get(key, 0) + amount
    counter = {(r.project_id, r.resource): r.used for r in tx.execute(select(quota_use))}
    keys = sorted(ledger.keys() | counter.keys())
    return [
        (p, r, counter.get((p, r), 0), ledger.get((p, r), 0))
        for p, r in keys
        if counter.get((p, r), 0) != ledger.get((p, r), 0)
    ]


def consumers(tx: Tx, prefix: str) -> list[str]:
    """Every consumer whose name begins with `prefix`, for the audit."""
    rows = tx.execute(
        select(quota_charge.c.consumer).where(func.substr(quota_charge.c.consumer, 1, len(prefix)) == prefix)
    )
    return [r.consumer for r in rows]


def _add(tx: Tx, project_id: str, resource: str, amount: int, limit: int) -> bool:
    grow = {"whose": project_id, "what": resource, "more": amount, "most": limit}
    if tx.execute(_GROW, grow).rowcount:
        return True
    insert_new(tx, quota_use, {"project_id": project_id, "resource": resource, "used": 0})
    return bool(tx.execute(_GROW, grow).rowcount)


def _is(table: Table, project_id: str, resource: str) -> Any:
    return and_(table.c.project_id == project_id, table.c.resource == resource)
