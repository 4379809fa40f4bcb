"""Identifiers. Randomness is an argument, so that a flow under a virtual clock repeats exactly."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Final

NewId = Callable[[], str]

UUID_PATTERN: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_uuid() -> str:
    """A random UUID (version 4) in its dashed form: servers, ports, images, hosts, operations."""
    return str(uuid.uuid4())


def new_hex() -> str:
    """A random UUID as 32 hex digits, the form of Keystone's users, projects and roles."""
    return uuid.uuid4().hex


def new_request_id() -> str:
    """`req-` and a UUID, as OpenStack services write it."""
    return f"req-{uuid.uuid4()}"


def is_uuid(text: str) -> bool:
    """Whether this is a UUID, dashed or not, in any case, as OpenStack's APIs accept it."""
    try:
        return str(uuid.UUID(text)) == text.lower() or uuid.UUID(text).hex == text.lower()
    except ValueError:
        return False


def ec2_id(prefix: str, identifier: str) -> str:
    """The EC2 name of a resource: prefix and the last 17 hex digits of its UUID (`i-0123456789abcdef0`)."""
    return f"{prefix}-{identifier.replace('-', '')[-17:]}"
