"""Requests signed with an EC2 access key (AWS signature versions 2 and 4) or, for object storage, the string that
was signed. Sources: AWS General Reference, "Signing AWS API requests"; Identity API v3 extensions OS-EC2 and s3tokens.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from kilonova.core.errors import Invalid, Unauthenticated

WINDOW_SECONDS: Final = 15 * 60
"""How far the time in a signed request may be from ours, either way (Keystone's `auth_ttl`)."""
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_AMZ: Final = "%Y%m%dT%H%M%SZ"
REFUSED: Final = "EC2 signature not supplied."


def verify_ec2(secret: str, signed: Mapping[str, Any], now_seconds: float) -> None:
    """Check what `/ec2tokens` was told of a request (`access`, `signature`, `host`, `verb`, `path`, `params`,
    `headers`, `body_hash`). Raises Unauthenticated for a wrong signature or a time too far away."""
    signature = signed.get("signature")
    if not isinstance(signature, str) or not signature:
        raise Unauthenticated(REFUSED)
    _check_time(signed, now_seconds)
    try:
        right = any(_same(one, signature) for one in _expected(secret, signed))
    except UnicodeEncodeError:
        # Half a surrogate pair: nothing that can be sent has been signed.
        right = False
    if not right:
        raise Unauthenticated("Invalid EC2 signature.")


def verify_s3(secret: str, signed: Mapping[str, Any]) -> None:
    """Check what `/s3tokens` was told (`token`: the string that was signed, in base64; `signature`). Raises
    Unauthenticated. How old a request may be is the object store's to decide: it knows which were signed beforehand,
    to be used for days."""
    signature = signed.get("signature")
    if not isinstance(signature, str) or not signature:
        raise Unauthenticated(REFUSED)
    try:
        text = b64decode(str(signed.get("token", "")).replace("-", "+").replace("_", "/"))
    except ValueError:
        raise Invalid("The string to sign is not base64.") from None
    first, _, rest = text.partition(b"\n")
    if first == _ALGORITHM.encode():
        parts = rest.split(b"\n")
        scope = parts[1].decode("utf-8", "replace").split("/") if len(parts) > 1 else []
        if len(scope) != 4:
            raise Unauthenticated(REFUSED)
        expected = hmac.new(_key_v4(secret, *scope[:3]), text, hashlib.sha256).hexdigest()
    else:
        expected = b64encode(hmac.digest(secret.encode(), text, "sha1")).decode()
    if not _same(expected, signature):
        raise Unauthenticated("Credential signature mismatch")


def _expected(secret: str, signed: Mapping[str, Any]) -> Iterator[str]:
    """The signatures that would be right: also for the host without its port, which some clients sign."""
    host = str(signed.get("host", ""))
    hosts = [host] if ":" not in host else [host, host.rsplit(":", 1)[0]]
    for one in hosts:
        yield _signature(secret, {**signed, "host": one})


def _signature(secret: str, signed: Mapping[str, Any]) -> str:
    params = _texts(signed.get("params"))
    version = params.get("SignatureVersion")
    if version is None and _v4_facts(signed):
        return _sign_v4(secret, signed)
    if version == "2":
        return _sign_v2(secret, signed, params)
    raise Unauthenticated("Unknown or unsupported signature version.")


def _sign_v2(secret: str, signed: Mapping[str, Any], params: Mapping[str, str]) -> str:
    method = params.get("SignatureMethod")
    digest = {"HmacSHA256": "sha256", "HmacSHA1": "sha1"}.get(method or "")
    if digest is None:
        raise Unauthenticated("Unknown or unsupported signature method.")
    pairs = "&".join(
        f"{quote(key, safe='-_~')}={quote(params[key], safe='-_~')}" for key in sorted(params) if key != "Signature"
    )
    text = "\n".join((str(signed.get("verb", "")), str(signed["host"]).lower(), str(signed.get("path", "")), pairs))
    return b64encode(hmac.digest(secret.encode(), text.encode(), digest)).decode()


def _sign_v4(secret: str, signed: Mapping[str, Any]) -> str:
    facts = _v4_facts(signed)
    scope = facts["credential"].split("/")[1:]
    if len(scope) != 4 or scope[3] != "aws4_request" or scope[0] != _v4_time(signed)[:8]:
        raise Unauthenticated(REFUSED)
    if "host" not in facts["signed"].split(";"):
        raise Unauthenticated("The host is not signed.")
    canonical = hashlib.sha256(_canonical(signed, facts["signed"]).encode()).hexdigest()
    text = "\n".join((_ALGORITHM, _v4_time(signed), "/".join(scope), canonical))
    return hmac.new(_key_v4(secret, *scope[:3]), text.encode(), hashlib.sha256).hexdigest()


def _canonical(signed: Mapping[str, Any], names: str) -> str:
    params = {k: v for k, v in _texts(signed.get("params")).items() if k != "X-Amz-Signature"}
    # With POST the parameters are the body, whose hash is signed.
    shown = {} if signed.get("verb") == "POST" else params
    query = "&".join(f"{quote(k, safe='-_.~')}={quote(shown[k], safe='-_.~')}" for k in sorted(shown))
    headers = {k.lower(): v for k, v in _texts(signed.get("headers")).items()}
    lines = "".join(f"{one}:{_header(signed, headers, one)}\n" for one in names.split(";"))
    body_hash = str(signed.get("body_hash") or hashlib.sha256(b"").hexdigest())
    return "\n".join((str(signed.get("verb", "")), str(signed.get("path", "")), query, lines, names, body_hash))


def _header(signed: Mapping[str, Any], headers: Mapping[str, str], name: str) -> str:
    return str(signed["host"]) if name == "host" else " ".join(headers.get(name, "").split())


def _v4_facts(signed: Mapping[str, Any]) -> dict[str, str]:
    """Credential and signed headers of a request with signature version 4, {} of another."""
    params = _texts(signed.get("params"))
    if params.get("X-Amz-Algorithm") == _ALGORITHM:
        return {"credential": params.get("X-Amz-Credential", ""), "signed": params.get("X-Amz-SignedHeaders", "")}
    headers = {k.lower(): v for k, v in _texts(signed.get("headers")).items()}
    authorization = headers.get("authorization", "")
    if not authorization.startswith(_ALGORITHM):
        return {}
    found = dict(re.findall(r"(Credential|SignedHeaders)=([^,\s]+)", authorization))
    return {"credential": found.get("Credential", ""), "signed": found.get("SignedHeaders", "")}


def _v4_time(signed: Mapping[str, Any]) -> str:
    headers = {k.lower(): v for k, v in _texts(signed.get("headers")).items()}
    return _texts(signed.get("params")).get("X-Amz-Date") or headers.get("x-amz-date", "")


def _key_v4(secret: str, *scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (*scope, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _check_time(signed: Mapping[str, Any], now_seconds: float) -> None:
    """Only a time that is signed counts: by version 4 the parameters of a POST are not, by version 2 no header is. What
    a request says of its own life (`Expires`, `X-Amz-Expires`) may shorten the window, never widen it."""
    params = _texts(signed.get("params"))
    by_parameter = params.get("SignatureVersion") is not None
    given, expires = (params.get("Timestamp"), params.get("Expires")) if by_parameter else (None, None)
    try:
        if by_parameter:
            moment = datetime.fromisoformat(given or expires or "")
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        else:
            moment = datetime.strptime(_v4_time(signed), _AMZ).replace(tzinfo=UTC)
    except ValueError:
        raise Unauthenticated("Timestamp is missing or malformed.") from None
    ahead = moment.timestamp() - now_seconds
    soonest = 0.0 if expires and not given else -_life(signed)
    if not soonest <= ahead <= WINDOW_SECONDS:
        raise Unauthenticated("EC2 signature expired.")


def _life(signed: Mapping[str, Any]) -> float:
    """For how many seconds after its time a request counts."""
    asked = _texts(signed.get("params")).get("X-Amz-Expires")
    if asked is None:
        return WINDOW_SECONDS
    if not (asked.isascii() and asked.isdecimal() and len(asked) < 8):
        raise Unauthenticated("X-Amz-Expires is malformed.")
    return min(int(asked), WINDOW_SECONDS)


def _texts(given: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in given.items()} if isinstance(given, Mapping) else {}


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "replace"))
