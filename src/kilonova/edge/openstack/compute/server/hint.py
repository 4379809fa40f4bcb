"""`os:scheduler_hints` of a create (API reference "Create Server")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from kilonova.cloud.scheduler import query
from kilonova.cloud.server.model import Group
from kilonova.core.context import Context, Scope
from kilonova.core.errors import Invalid, NotBuilt, NotFound
from kilonova.core.ids import is_uuid

NAMES: Final = ("os:scheduler_hints", "OS-SCH-HNT:scheduler_hints")
_UNBUILT: Final = ("target_cell", "build_near_host_ip", "cidr")
_SERVERS: Final = ("same_host", "different_host")
MOST: Final = 100


class Groups(Protocol):
    async def get(self, scope: Scope, group_id: str) -> Group: ...


async def read_hints(body: Mapping[str, Any], context: Context, groups: Groups) -> tuple[str | None, dict[str, Any]]:
    """(server group, the other hints). Raises Invalid, NotBuilt; hints that nobody knows mean nothing, as in Nova."""
    asked: Mapping[str, Any] = next((body[name] for name in NAMES if body.get(name)), {})
    for name in _UNBUILT:
        if asked.get(name):
            raise NotBuilt(f"The scheduler hint {name} is not implemented")
    hints: dict[str, Any] = {name: _servers(name, asked[name]) for name in _SERVERS if asked.get(name)}
    if wanted := asked.get("query"):
        hints["query"] = wanted if isinstance(wanted, str) else msgspec.json.encode(wanted).decode()
        query.check(hints["query"])
    return await _group(asked.get("group"), context, groups), hints


def _servers(name: str, asked: str | list[str]) -> list[str]:
    found = [asked] if isinstance(asked, str) else list(asked)
    if len(found) > MOST or not all(is_uuid(one) for one in found):
        raise Invalid(f"The scheduler hint {name} must be ids of servers, at most {MOST}")
    return found


async def _group(asked: str | list[str] | None, context: Context, groups: Groups) -> str | None:
    named = asked[0] if isinstance(asked, list) and asked else asked
    if not named:
        return None
    if not isinstance(named, str) or not is_uuid(named):
        raise Invalid("Server group scheduler hint must be a UUID.")
    try:
        return (await groups.get(context.scope, named)).id
    except NotFound as failure:
        raise Invalid(failure.message) from None
