"""Time-based one-time passwords (RFC 6238: HMAC-SHA-1, 30 s, 6 digits), as authenticator apps make them."""

from __future__ import annotations

import binascii
import hmac
from base64 import b32decode
from typing import Final

STEP_SECONDS: Final = 30
PREVIOUS_STEPS: Final = 1
"""How many steps before the present one are taken too: clocks differ, and people type slowly."""
DIGITS: Final = 6


def passcode(secret: str, step: int) -> str:
    """The one-time password of a time step. Raises ValueError when the secret is not base32."""
    try:
        key = b32decode(secret.upper() + "=" * (-len(secret) % 8))
    except binascii.Error as error:
        raise ValueError("the secret is not base32") from error
    digest = hmac.digest(key, step.to_bytes(8, "big"), "sha1")
    at = digest[-1] & 15
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def find_step(secret: str, given: str, now_seconds: int) -> int | None:
    """The time step whose password this is, of the present one and those taken before it; None for a wrong one."""
    present = now_seconds // STEP_SECONDS
    found = None
    for step in range(max(0, present - PREVIOUS_STEPS), present + 1):
        try:
            expected = passcode(secret, step)
        except ValueError:
            return None
        if hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
            found = step
    return found
