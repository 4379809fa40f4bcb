"""What a key pair is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

KeyType = Literal["ssh", "x509"]
MAX_KEY: Final = 32 * 1024


@dataclass(frozen=True, slots=True)
class Keypair:
    """A user's public key under a name. The private key is never stored. `number` is Nova's integer id; time in µs."""

    number: int
    user_id: str
    name: str
    type: KeyType
    fingerprint: str
    public_key: str
    created_at: int
