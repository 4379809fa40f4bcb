"""Trusts (Identity API v3, extension OS-TRUST)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kilonova.cloud.identity.model import Role, Trust
from kilonova.cloud.identity.trust import Trusts
from kilonova.core.errors import Forbidden, NotBuilt, NotFound
from kilonova.edge.openstack.identity import body, view
from kilonova.edge.openstack.identity.delegation import named_role, refuse_delegated
from kilonova.edge.openstack.identity.moment import parse_moment
from kilonova.kit.http import Request, Route, query, single
from kilonova.kit.http.route import Answer

_DELEGATED: Final = "You are not authorized to perform the requested action: Using a delegated token to manage trusts."
_USER = single({"type": "string", "maxLength": 64})
_LIST = query({"trustor_user_id": _USER, "trustee_user_id": _USER})
_PARTIES = ("trustor_user_id", "trustee_user_id")


class TrustRoutes:
    """The routes under `/v3/OS-TRUST`. Trusts of trusts are not built."""

    def __init__(self, trusts: Trusts) -> None:
        self._trusts = trusts

    def routes(self) -> list[Route]:
        place, found = "/OS-TRUST/trusts", self._target
        one = f"{place}/{{trust_id}}"
        return [
            Route(
                "POST", place, self.create, "identity:create_trust", schema=body.TRUST, success=201, target=_own_target
            ),
            Route("GET", place, self.list, "identity:list_trusts_for_trustor", query=_LIST, target=_asked_target),
            Route("GET", one, self.show, "identity:get_trust", target=found),
            Route("DELETE", one, self.delete, "identity:delete_trust", success=204, target=found),
            Route("GET", f"{one}/roles", self.list_roles, "identity:list_roles_for_trust", target=found),
            Route("GET", f"{one}/roles/{{role_id}}", self.show_role, "identity:get_role_for_trust", target=found),
        ]

    async def create(self, request: Request) -> Answer:
        context, given = request.context, request.json["trust"]
        if given["trustor_user_id"] != context.user_id:
            raise Forbidden("The authenticated user should match the trustor.", rule="identity:create_trust")
        if context.trust_id or given.get("allow_redelegation"):
            raise NotBuilt("Redelegation of trusts is not implemented")
        refuse_delegated(context, _DELEGATED)
        values = {key: given.get(key) for key in (*_PARTIES, "project_id", "impersonation", "remaining_uses")}
        values["expires_at"] = parse_moment(given.get("expires_at"))
        trust, roles = await self._trusts.create(values, [named_role(role) for role in given.get("roles") or ()])
        return {"trust": _view(trust, request, roles)}

    async def list(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED)
        where = _asked(request)
        _check_list(request, where)
        rows = [_view(one, request, None) for one in await self._trusts.list(where)]
        return view.collection("trusts", rows, f"{request.service_url}/v3/OS-TRUST/trusts")

    async def show(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED, but_trust=request.params["trust_id"])
        trust, roles = await self._trusts.show(request.params["trust_id"])
        return {"trust": _view(trust, request, roles)}

    async def delete(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED)
        await self._trusts.delete(request.params["trust_id"])
        return None

    async def list_roles(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED, but_trust=request.params["trust_id"])
        trust, roles = await self._trusts.show(request.params["trust_id"])
        shown = _view(trust, request, roles)
        return {"roles": shown["roles"], "links": shown["roles_links"]}

    async def show_role(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED, but_trust=request.params["trust_id"])
        _, roles = await self._trusts.show(request.params["trust_id"])
        for role in roles:
            if role.id == request.params["role_id"]:
                return {"role": view.role(role, f"{request.service_url}/v3")}
        raise NotFound(f"Could not find role: {request.params['role_id']}.")

    async def _target(self, request: Request) -> Mapping[str, str | None]:
        """The parties. A trust that is not there is told as such before anybody's rights are looked at, as Keystone
        does."""
        trust, _ = await self._trusts.show(request.params["trust_id"])
        return {
            "target.trust.trustor_user_id": trust.trustor_user_id,
            "target.trust.trustee_user_id": trust.trustee_user_id,
        }


async def _own_target(request: Request) -> Mapping[str, str | None]:
    """Only one's own rights can be delegated: that the body says so is checked with the body."""
    return {"target.trust.trustor_user_id": request.context.user_id}


async def _asked_target(request: Request) -> Mapping[str, str | None]:
    """A question about trustees is put to its own rule in the handler; here it passes."""
    where = _asked(request)
    if "trustor_user_id" not in where and "trustee_user_id" in where:
        return {"target.trust.trustor_user_id": request.context.user_id}
    return {"target.trust.trustor_user_id": where.get("trustor_user_id", "")}


def _asked(request: Request) -> dict[str, str]:
    return {key: value for key in _PARTIES if (value := request.query_one(key))}


def _check_list(request: Request, where: Mapping[str, str]) -> None:
    if "trustor_user_id" in where:
        return
    rule, target = "identity:list_trusts", dict[str, str | None]()
    if "trustee_user_id" in where:
        rule, target = "identity:list_trusts_for_trustee", {"target.trust.trustee_user_id": where["trustee_user_id"]}
    if not request.permits(rule, **target):
        raise Forbidden("You are not authorized to perform the requested action.", rule=rule)


def _view(trust: Trust, request: Request, roles: Sequence[Role] | None) -> dict[str, Any]:
    root = f"{request.service_url}/v3"
    place = f"{root}/OS-TRUST/trusts/{trust.id}"
    found: dict[str, Any] = {
        "id": trust.id,
        "trustor_user_id": trust.trustor_user_id,
        "trustee_user_id": trust.trustee_user_id,
        "project_id": trust.project_id,
        "impersonation": trust.impersonation,
        "expires_at": None if trust.expires_at is None else view.moment(trust.expires_at),
        "remaining_uses": trust.remaining_uses,
        "deleted_at": None,
        "redelegated_trust_id": None,
        "redelegation_count": 0,
        "links": {"self": place},
    }
    if roles is not None:
        found["roles"] = [view.role(role, root) for role in roles]
        found["roles_links"] = {"self": f"{place}/roles", "next": None, "previous": None}
    return found
