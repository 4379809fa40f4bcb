"""Pausing, suspending, locking and resetting servers (API reference "Servers - run an action")."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.server.action import Plain, ServerActions
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import boxed, record
from kilonova.edge.openstack.compute.server.attempt import PATH, attempt
from kilonova.edge.openstack.compute.server.routes import server_id
from kilonova.kit.http import Request, Route, VersionedSchemas
from kilonova.kit.http.route import Handler
from kilonova.kit.http.schema import JsonSchema

_PLAIN: Final[dict[Plain, str]] = {
    "pause": "os-pause-server:pause",
    "unpause": "os-pause-server:unpause",
    "suspend": "os-suspend-server:suspend",
    "resume": "os-suspend-server:resume",
}
_STATE: Final = boxed("os-resetState", record({"state": {"enum": ["active", "error"]}}, "state"))
_REASON: Final[JsonSchema] = {"type": "string", "minLength": 1, "maxLength": 255}
_LOCK: Final = VersionedSchemas(
    {
        (2, 1): {"type": "object"},
        (2, 73): boxed("lock", {"type": ["object", "null"], "properties": {"locked_reason": _REASON},
                                "additionalProperties": False}),
    }
)  # fmt: skip


class PowerRoutes:
    """Handlers of actions that say nothing but their name, or little more."""

    def __init__(self, actions: ServerActions) -> None:
        self._actions = actions

    def routes(self) -> list[Route]:
        return [
            *(self._route(act, self._do(act), rule) for act, rule in _PLAIN.items()),
            self._route("lock", self.lock, "os-lock-server:lock", _LOCK),
            self._route("unlock", self.unlock, "os-lock-server:unlock"),
            self._route("os-resetState", self.reset_state, "os-admin-actions:reset_state", _STATE),
        ]

    def _route(self, action: str, handler: Handler, rule: str, body: Any = None) -> Route:
        return Route("POST", PATH, handler, PREFIX + rule, schema=body, action=action, success=202)

    def _do(self, act: Plain) -> Handler:
        async def handler(request: Request) -> None:
            identifier = server_id(request)
            await attempt(act, identifier, self._actions.act(request.context, reach(request), identifier, act))

        return handler

    async def lock(self, request: Request) -> None:
        reason = (request.json["lock"] or {}).get("locked_reason") if request.version >= (2, 73) else None
        await self._actions.lock(request.context, reach(request), server_id(request), reason)

    async def unlock(self, request: Request) -> None:
        override = request.permits(f"{PREFIX}os-lock-server:unlock:unlock_override")
        await self._actions.unlock(request.context, reach(request), server_id(request), override=override)

    async def reset_state(self, request: Request) -> None:
        identifier, state = server_id(request), request.json["os-resetState"]["state"]
        await attempt("resetState", identifier, self._actions.reset_state(reach(request), identifier, state))
