"""Tokens of consoles: who has one may connect once. Only their digests are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Column, Integer, String, Table, delete, insert, select

from kilonova.kit.db import Tx, metadata

UNUSED: Final = 20

console_token = Table(
    "console_token",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("server_id", String(36), nullable=False, index=True),
    Column("fence", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)


@dataclass(frozen=True, slots=True)
class ConsoleToken:
    """What a token gives: one kind of console of a server's guest, as long as that is under this fence."""

    server_id: str
    fence: int
    kind: str
    expires_at: int


def add(tx: Tx, digest: str, token: ConsoleToken) -> None:
    """Keep a new token; of those of its server that nobody used, the newest `UNUSED` stay."""
    values = {"server_id": token.server_id, "fence": token.fence, "kind": token.kind, "expires_at": token.expires_at}
    tx.execute(insert(console_token).values(digest=digest, **values))
    of_server = select(console_token.c.digest).where(console_token.c.server_id == token.server_id)
    newest_first = of_server.order_by(console_token.c.expires_at.desc(), console_token.c.digest)
    beyond = [row.digest for row in tx.execute(newest_first.offset(UNUSED))]
    if beyond:
        tx.execute(delete(console_token).where(console_token.c.digest.in_(beyond)))


def find(tx: Tx, digest: str) -> ConsoleToken | None:
    """A token that is valid still."""
    row = tx.execute(select(console_token).where(console_token.c.digest == digest)).one_or_none()
    if row is None or row.expires_at <= tx.now:
        return None
    return ConsoleToken(row.server_id, row.fence, row.kind, row.expires_at)


def take(tx: Tx, digest: str) -> ConsoleToken | None:
    """Use a token up."""
    found = find(tx, digest)
    if found is None or tx.execute(delete(console_token).where(console_token.c.digest == digest)).rowcount != 1:
        return None
    return found


def forget(tx: Tx) -> int:
    """Drop what has expired; how many those were."""
    return tx.execute(delete(console_token).where(console_token.c.expires_at <= tx.now)).rowcount
