"""Application credentials and access rules (Identity API v3, "Application Credentials")."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.identity.application_credential import ApplicationCredentials, Shown
from kilonova.core.access import AccessRule
from kilonova.core.context import Context
from kilonova.core.errors import Forbidden
from kilonova.edge.openstack.identity import body, view
from kilonova.edge.openstack.identity.delegation import named_role, refuse_delegated
from kilonova.edge.openstack.identity.moment import naive, parse_moment
from kilonova.kit.http import Request, Route, query, single
from kilonova.kit.http.route import Answer

_DELEGATED: Final = "Cannot manage application credentials with a token issued via delegation."
_LIST = query({"name": single({"type": "string", "maxLength": 255})})


class ApplicationCredentialRoutes:
    """The routes under `/v3/users/{user_id}` about what programs log in with."""

    def __init__(self, credentials: ApplicationCredentials) -> None:
        self._credentials = credentials

    def routes(self) -> list[Route]:
        place = "/users/{user_id}/application_credentials"
        one, rules = f"{place}/{{credential_id}}", "/users/{user_id}/access_rules"
        create = body.APPLICATION_CREDENTIAL
        return [
            Route("GET", place, self.list, "identity:list_application_credentials", query=_LIST),
            Route("POST", place, self.create, "identity:create_application_credential", schema=create, success=201),
            Route("GET", one, self.show, "identity:get_application_credential"),
            Route("DELETE", one, self.delete, "identity:delete_application_credential", success=204),
            Route("GET", rules, self.list_rules, "identity:list_access_rules"),
            Route("GET", f"{rules}/{{rule_id}}", self.show_rule, "identity:get_access_rule"),
            Route("DELETE", f"{rules}/{{rule_id}}", self.delete_rule, "identity:delete_access_rule", success=204),
        ]

    async def list(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED, but_application=True)
        user_id = request.params["user_id"]
        found = await self._credentials.list(user_id, request.query_one("name"))
        address = f"{request.service_url}/v3/users/{user_id}/application_credentials"
        return view.collection("application_credentials", [_view(one, request) for one in found], address)

    async def create(self, request: Request) -> Answer:
        context, given = request.context, request.json["application_credential"]
        refuse_delegated(context, _DELEGATED, but_application=True)
        _refuse_restricted(context)
        if context.user_id != request.params["user_id"]:
            raise Forbidden("Cannot create an application credential for another user.")
        values = {
            "name": given["name"],
            "description": given.get("description") or "",
            "unrestricted": bool(given.get("unrestricted")),
            "expires_at": parse_moment(given.get("expires_at")),
            "secret": given.get("secret"),
        }
        roles = [named_role(role) for role in given.get("roles") or ()]
        shown, secret = await self._credentials.create(context, values, roles, given.get("access_rules"))
        return {"application_credential": {**_view(shown, request), "secret": secret}}

    async def show(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED, but_application=True)
        shown = await self._credentials.show(request.params["user_id"], request.params["credential_id"])
        return {"application_credential": _view(shown, request)}

    async def delete(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED, but_application=True)
        _refuse_restricted(request.context)
        await self._credentials.delete(request.params["user_id"], request.params["credential_id"])
        return None

    async def list_rules(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED, but_application=True)
        user_id = request.params["user_id"]
        where = {key: value for key in ("service", "method", "path") if (value := request.query_one(key)) is not None}
        found = await self._credentials.list_rules(user_id, where)
        address = f"{request.service_url}/v3/users/{user_id}/access_rules"
        return view.collection("access_rules", [_rule(one, request) for one in found], address)

    async def show_rule(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED, but_application=True)
        found = await self._credentials.show_rule(request.params["user_id"], request.params["rule_id"])
        return {"access_rule": _rule(found, request)}

    async def delete_rule(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED, but_application=True)
        _refuse_restricted(request.context)
        await self._credentials.delete_rule(request.params["user_id"], request.params["rule_id"])
        return None


def _refuse_restricted(context: Context) -> None:
    if context.restricted:
        raise Forbidden(
            "You are not authorized to perform the requested action: Using method 'application_credential' is not "
            "allowed for managing additional application credentials."
        )


def _view(shown: Shown, request: Request) -> dict[str, Any]:
    one = shown.credential
    place = f"{request.service_url}/v3/users/{one.user_id}/application_credentials/{one.id}"
    found: dict[str, Any] = {
        "id": one.id,
        "name": one.name,
        "description": one.description or None,
        "user_id": one.user_id,
        "project_id": one.project_id,
        "system": None,
        "expires_at": None if one.expires_at is None else naive(one.expires_at),
        "unrestricted": one.unrestricted,
        "roles": [{"id": role.id, "name": role.name, "domain_id": role.domain_id} for role in shown.roles],
        "links": {"self": place},
    }
    if shown.rules is not None:
        found["access_rules"] = [_rule(rule, None) for rule in shown.rules]
    return found


def _rule(rule: AccessRule, request: Request | None) -> dict[str, Any]:
    found: dict[str, Any] = {"id": rule.id, "service": rule.service, "method": rule.method, "path": rule.path}
    if request is not None:
        place = f"{request.service_url}/v3/users/{request.params['user_id']}/access_rules/{rule.id}"
        found["links"] = {"self": place}
    return found
