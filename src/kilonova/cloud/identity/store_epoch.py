"""Epochs: counters that every change of a user, a project or the whole cloud raises in its own transaction, so that a
cached context is known to be stale by one read. And the tokens that were revoked one by one."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, String, Table, bindparam, delete, select, update

from kilonova.kit.db import Tx, insert_new, metadata

identity_epoch = Table(
    "identity_epoch",
    metadata,
    Column("subject", String(80), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)
identity_revocation = Table(
    "identity_revocation",
    metadata,
    Column("audit_id", String(32), primary_key=True),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

GLOBAL: Final = "global"
Seen = tuple[tuple[str, int], ...]
_READ: Final = select(identity_epoch.c.subject, identity_epoch.c.epoch).where(
    identity_epoch.c.subject.in_((bindparam("everyone"), bindparam("user"), bindparam("project"), bindparam("other")))
)


def user(user_id: str) -> str:
    """The subject of a user's epoch."""
    return f"user:{user_id}"


def project(project_id: str | None) -> str:
    """The subject of a project's epoch."""
    return f"project:{project_id or ''}"


def bump(tx: Tx, subject: str) -> None:
    """Make every cached context of `subject` stale."""
    raised = update(identity_epoch).where(identity_epoch.c.subject == subject).values(epoch=identity_epoch.c.epoch + 1)
    if not tx.execute(raised).rowcount and not insert_new(tx, identity_epoch, {"subject": subject, "epoch": 1}):
        tx.execute(raised)


def read(tx: Tx, user_id: str, project_id: str | None, other_id: str = "") -> Seen:
    """The epochs that a context of this user and project rests on, and of the other party to a trust; those that were
    never raised are absent."""
    subjects = {"user": user(user_id), "project": project(project_id), "other": user(other_id)}
    rows = tx.execute(_READ, {"everyone": GLOBAL, **subjects})
    return tuple(sorted((str(row.subject), int(row.epoch)) for row in rows))


def revoke(tx: Tx, audit_id: str, expires_at: int) -> None:
    """Remember until its end that a token no longer counts."""
    insert_new(tx, identity_revocation, {"audit_id": audit_id, "expires_at": expires_at})


def is_revoked(tx: Tx, audit_id: str) -> bool:
    """Whether a token was revoked."""
    found = tx.execute(select(identity_revocation.c.audit_id).where(identity_revocation.c.audit_id == audit_id))
    return found.first() is not None


def forget_revocations(tx: Tx, before: int) -> int:
    """Drop those of tokens that have expired anyway; returns how many."""
    return tx.execute(delete(identity_revocation).where(identity_revocation.c.expires_at < before)).rowcount
