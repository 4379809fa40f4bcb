"""Which roles imply others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Column, String, Table, delete, or_, select

from kilonova.cloud.identity.store import identity_role
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, insert_new, metadata

identity_implication = Table(
    "identity_implication",
    metadata,
    Column("prior_id", String(64), primary_key=True),
    Column("implied_id", String(64), primary_key=True),
)


def imply(tx: Tx, prior_id: str, implied_id: str) -> bool:
    """Let one role imply another; False when it did."""
    return insert_new(tx, identity_implication, {"prior_id": prior_id, "implied_id": implied_id})


def imply_no_more(tx: Tx, prior_id: str, implied_id: str) -> None:
    """End an implication. Raises NotFound."""
    columns = identity_implication.c
    gone = delete(identity_implication).where(columns.prior_id == prior_id, columns.implied_id == implied_id)
    if not tx.execute(gone).rowcount:
        raise NotFound(f"Could not find implied role {implied_id} of {prior_id}.")


def forget(tx: Tx, role_id: str) -> None:
    """Drop every implication that names a role."""
    columns = identity_implication.c
    tx.execute(delete(identity_implication).where(or_(columns.prior_id == role_id, columns.implied_id == role_id)))


def forget_domain(tx: Tx, domain_id: str) -> None:
    """Drop every implication that names a role of a domain."""
    columns = identity_implication.c
    roles = select(identity_role.c.id).where(identity_role.c.domain_id == domain_id)
    tx.execute(delete(identity_implication).where(or_(columns.prior_id.in_(roles), columns.implied_id.in_(roles))))


def implications(tx: Tx) -> list[tuple[str, str]]:
    """Every (prior role, implied role)."""
    columns = identity_implication.c
    rows = tx.execute(select(identity_implication).order_by(columns.prior_id, columns.implied_id))
    return [(row.prior_id, row.implied_id) for row in rows]


def implied_by(tx: Tx, role_ids: Iterable[str]) -> set[str]:
    """Every role that these imply, at any distance."""
    return reach(by_prior(implications(tx)), role_ids)


def by_prior(pairs: Iterable[tuple[str, str]]) -> Mapping[str, Sequence[str]]:
    """The roles that each implies directly."""
    implied: dict[str, list[str]] = {}
    for prior_id, implied_id in pairs:
        implied.setdefault(prior_id, []).append(implied_id)
    return implied


def reach(implied: Mapping[str, Sequence[str]], role_ids: Iterable[str]) -> set[str]:
    """Every role that these imply, at any distance, by what each implies directly."""
    found: set[str] = set()
    waiting = list(role_ids)
    while waiting:
        for role_id in implied.get(waiting.pop(), ()):
            if role_id not in found:
                found.add(role_id)
                waiting.append(role_id)
    return found
