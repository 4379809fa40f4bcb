"""Tokens: a ticket, packed and encrypted. About 200 characters, nothing stored."""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64encode
from typing import Final

import msgspec

from kilonova.cloud.identity.key import KeyRing
from kilonova.cloud.identity.model import ScopeKind, Ticket
from kilonova.core.errors import Unauthenticated

MAX_LENGTH: Final = 1024
_METHODS: Final = ("password", "token", "application_credential", "totp", "external", "ec2credential")
_HEX: Final = re.compile(r"[0-9a-f]{32}")
_KINDS: Final[tuple[ScopeKind, ...]] = ("unscoped", "project", "domain", "system")


class _Packed(msgspec.Struct, array_like=True):
    version: int
    user: bytes
    kind: int
    target: bytes
    methods: int
    issued_at: int
    expires_at: int
    audit: list[str]
    trust: bytes = b""
    credential: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


def new_audit_id() -> str:
    """16 random bytes in 22 characters, as Keystone's audit ids."""
    return urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()


class Tokens:
    """Turns tickets into tokens and back."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def seal(self, ticket: Ticket) -> str:
        """The token of a ticket."""
        # A kilonova that knows only version 1 refuses what is narrower than its user, instead of taking it for whole.
        packed = _Packed(
            2 if ticket.trust_id or ticket.credential_id else 1,
            _pack(ticket.user_id),
            _KINDS.index(ticket.kind),
            _pack(ticket.target_id),
            sum(1 << _METHODS.index(method) for method in ticket.methods),
            ticket.issued_at,
            ticket.expires_at,
            list(ticket.audit_ids),
            _pack(ticket.trust_id),
            _pack(ticket.credential_id),
        )
        return self._keys.encrypt(_encode(packed), ticket.issued_at // 1_000_000)

    def open(self, token: str, now: int, *, grace: int = 0) -> Ticket:
        """The ticket in a token. Raises Unauthenticated when it is forged, malformed, or expired at `now` for more
        than `grace` (µs)."""
        if len(token) > MAX_LENGTH:
            raise Unauthenticated("The token is not valid.")
        try:
            packed = _decode(self._keys.decrypt(token))
        except msgspec.MsgspecError:
            raise Unauthenticated("The token is not valid.") from None
        if packed.version not in (1, 2) or packed.expires_at + grace <= now:
            raise Unauthenticated("The token has expired.")
        return Ticket(
            _unpack(packed.user),
            _KINDS[packed.kind],
            _unpack(packed.target),
            tuple(name for bit, name in enumerate(_METHODS) if packed.methods >> bit & 1),
            packed.issued_at,
            packed.expires_at,
            tuple(packed.audit),
            _unpack(packed.trust),
            _unpack(packed.credential),
        )


def _pack(identifier: str) -> bytes:
    """32 hex digits as a NUL (which no id begins with) and 16 bytes; anything else as it is."""
    if _HEX.fullmatch(identifier):
        return b"\0" + bytes.fromhex(identifier)
    return identifier.encode()


def _unpack(packed: bytes) -> str:
    return packed[1:].hex() if packed.startswith(b"\0") else packed.decode()
