"""Trying a command on the server in the path, refused in Nova's words."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, TypeVar

from kilonova.core.errors import Conflict
from kilonova.edge.openstack.compute.server.state import refusal

PATH: Final = "/servers/{server_id}/action"
T = TypeVar("T")


async def attempt(verb: str, identifier: str, work: Awaitable[T]) -> T:
    """What `work` answers; a Conflict of its state says what `verb` cannot be done for."""
    try:
        return await work
    except Conflict as failure:
        raise refusal(failure, verb, identifier) from failure
