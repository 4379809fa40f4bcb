"""Session tokens of the metadata service: signed, not stored."""

from __future__ import annotations

import base64
import binascii
import hmac
from hashlib import sha256

TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"


class TokenMint:
    """Makes and checks tokens that hold their own end and are good for one server. `now` is in seconds."""

    LONGEST = 21600
    """Seconds that a token may live."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, server_id: str, ttl: int, now: int) -> str:
        """A token for the next `ttl` seconds."""
        end = (now + ttl).to_bytes(8, "big")
        return base64.urlsafe_b64encode(end + self._sign(end, server_id)).decode()

    def verify(self, token: str, server_id: str, now: int) -> bool:
        """Whether we made it, for this server, and it has not ended."""
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            return False
        end, signature = raw[:8], raw[8:]
        return hmac.compare_digest(signature, self._sign(end, server_id)) and now < int.from_bytes(end, "big")

    def _sign(self, end: bytes, server_id: str) -> bytes:
        return hmac.digest(self._secret, end + server_id.encode(), sha256)
