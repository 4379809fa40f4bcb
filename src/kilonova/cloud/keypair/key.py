"""Keys themselves: checked, fingerprinted, made. Pure, but slow enough for a thread."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from kilonova.cloud.keypair.model import MAX_KEY, KeyType
from kilonova.core.errors import Invalid

_HARDWARE: Final = frozenset({"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"})
_BAD: Final = "Keypair data is invalid: failed to generate fingerprint"


def fingerprint(kind: KeyType, public_key: str) -> str:
    """The fingerprint as Nova writes it: md5 of an ssh key's blob, sha1 of a certificate, in pairs with colons.

    Raises Invalid for what is not exactly one key (RFC 4253 §6.6, OpenSSH's one-line form) or PEM certificate.
    """
    if len(public_key) > MAX_KEY:
        raise Invalid(f"Keypair data is invalid: a key has at most {MAX_KEY} characters")
    digest = _ssh_digest(public_key) if kind == "ssh" else _certificate_digest(public_key)
    return digest.hex(":")


def generate_ssh(comment: str) -> tuple[str, str]:
    """A new RSA key of 2048 bits: (private key in PEM, public key in OpenSSH's form)."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return pem.decode(), f"{public.decode()} {comment}"


def _ssh_digest(public_key: str) -> bytes:
    line = public_key.strip()
    # One line only: a second one would become a second key in the guest's authorized_keys.
    if any(ord(character) < 32 or ord(character) == 127 for character in line):
        raise Invalid(f"{_BAD}: it must be one line")
    words = line.split(" ")
    try:
        blob = base64.b64decode(words[1], validate=True)
        size = int.from_bytes(blob[:4])
        if blob[4 : 4 + size] != words[0].encode():
            raise Invalid(_BAD)
        if words[0] not in _HARDWARE:
            serialization.load_ssh_public_key(" ".join(words[:2]).encode())
    except (ValueError, IndexError, UnsupportedAlgorithm, binascii.Error) as error:
        raise Invalid(_BAD, detail=str(error)) from error
    return hashlib.md5(blob, usedforsecurity=False).digest()


def _certificate_digest(public_key: str) -> bytes:
    try:
        certificate = x509.load_pem_x509_certificate(public_key.encode())
        return certificate.fingerprint(hashes.SHA1())  # noqa: S303
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid(_BAD, detail=str(error)) from error
