"""Credentials (Identity API v3, "Credentials"), EC2 access keys (extension OS-EC2), and requests signed with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.identity import signature
from kilonova.cloud.identity.catalog import CatalogService
from kilonova.cloud.identity.credential import AccessKey, Credential, Credentials, hash_access
from kilonova.cloud.identity.login import Issued, Login
from kilonova.core.errors import Forbidden, Invalid, NotFound, Unauthenticated
from kilonova.edge.openstack.identity import body, view
from kilonova.edge.openstack.identity.catalog import show_catalog
from kilonova.edge.openstack.identity.delegation import refuse_delegated
from kilonova.kit.clock import SECOND, Clock
from kilonova.kit.http import Request, Response, Route, query, single
from kilonova.kit.http.route import Answer

_DELEGATED: Final = (
    "You are not authorized to perform the requested action: Delegated tokens cannot access credentials directly."
)
_TEXT = single({"type": "string", "maxLength": 255})
_LIST = query({"user_id": _TEXT, "type": _TEXT})


class CredentialRoutes:
    """The routes at `/v3/credentials` and `/v3/users/{user_id}/credentials/OS-EC2`."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def routes(self) -> list[Route]:
        one = "/credentials/{credential_id}"
        keys = "/users/{user_id}/credentials/OS-EC2"
        key = f"{keys}/{{access}}"
        found, of_user, of_key = self._target, self._user_target, self._key_target
        return [
            Route("GET", "/credentials", self.list, "identity:list_credentials", query=_LIST, target=_own_target),
            Route(
                "POST", "/credentials", self.create, "identity:create_credential",
                schema=body.CREDENTIAL, success=201, target=_no_target,
            ),
            Route("GET", one, self.show, "identity:get_credential", target=found),
            Route(
                "PATCH", one, self.change, "identity:update_credential", schema=body.CREDENTIAL_CHANGE, target=found
            ),
            Route("DELETE", one, self.delete, "identity:delete_credential", success=204, target=found),
            Route("GET", keys, self.list_keys, "identity:ec2_list_credentials"),
            Route(
                "POST", keys, self.create_key, "identity:ec2_create_credential",
                schema=body.EC2_CREDENTIAL, success=201, target=of_user,
            ),
            Route("GET", key, self.show_key, "identity:ec2_get_credential", target=of_key),
            Route("DELETE", key, self.delete_key, "identity:ec2_delete_credential", success=204, target=of_key),
        ]  # fmt: skip

    async def list(self, request: Request) -> Answer:
        where = {key: value for key in ("user_id", "type") if (value := request.query_one(key)) is not None}
        everybody = request.permits("identity:get_credential", **{"target.credential.user_id": ""})
        rows = []
        if not request.context.delegated:
            if not everybody and where.setdefault("user_id", request.context.user_id) != request.context.user_id:
                where["user_id"] = ""
            rows = [_view(one, request) for one in await self._credentials.list(where)]
        return view.collection("credentials", rows, f"{request.service_url}/v3/credentials")

    async def create(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED)
        given = request.json["credential"]
        _check_owner(request, "identity:create_credential", given["user_id"])
        values = {key: given.get(key) for key in ("user_id", "project_id", "type", "blob")}
        return {"credential": _view(await self._credentials.create(values), request)}

    async def show(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED)
        return {"credential": _view(await self._credentials.show(request.params["credential_id"]), request)}

    async def change(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED)
        given, identifier = request.json["credential"], request.params["credential_id"]
        if given.get("id", identifier) != identifier:
            raise Invalid("Cannot change credential ID")
        if "user_id" in given:
            _check_owner(request, "identity:update_credential", given["user_id"])
        values = {key: given[key] for key in ("user_id", "project_id", "type", "blob") if key in given}
        return {"credential": _view(await self._credentials.change(identifier, values), request)}

    async def delete(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED)
        await self._credentials.delete(request.params["credential_id"])
        return None

    async def list_keys(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED)
        user_id = request.params["user_id"]
        rows = [_key_view(one, request) for one in await self._credentials.list_keys(user_id)]
        return view.collection("credentials", rows, f"{request.service_url}/v3/users/{user_id}/credentials/OS-EC2")

    async def create_key(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED)
        key = await self._credentials.create_key(request.params["user_id"], request.json["tenant_id"])
        return {"credential": _key_view(key, request)}

    async def show_key(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED)
        return {"credential": _key_view(await self._key(request), request)}

    async def delete_key(self, request: Request) -> Answer:
        refuse_delegated(request.context, _DELEGATED)
        await self._key(request)
        await self._credentials.delete(hash_access(request.params["access"]))
        return None

    async def _key(self, request: Request) -> AccessKey:
        key = await self._credentials.find_key(request.params["access"])
        if key.user_id != request.params["user_id"]:
            raise NotFound("EC2 access key not found.")
        return key

    async def _target(self, request: Request) -> Mapping[str, str | None]:
        """Whose it is; nobody's when there is none, so that only who sees all learns that."""
        try:
            found = await self._credentials.show(request.params["credential_id"])
        except NotFound:
            return {"target.credential.user_id": ""}
        return {"target.credential.user_id": found.user_id}

    async def _user_target(self, request: Request) -> Mapping[str, str | None]:
        return {"target.credential.user_id": request.params["user_id"]}

    async def _key_target(self, request: Request) -> Mapping[str, str | None]:
        """Whose it is. A key that is not there is told as such, as Keystone does: nobody guesses 128 bits."""
        return {"target.credential.user_id": (await self._key(request)).user_id}


class SignedRoutes:
    """`/v3/ec2tokens` and `/v3/s3tokens`: services ask who signed a request."""

    def __init__(self, credentials: Credentials, login: Login, catalog: CatalogService, clock: Clock) -> None:
        self._credentials = credentials
        self._login = login
        self._catalog = catalog
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/ec2tokens", self.ec2, "identity:ec2tokens_validate", schema=body.SIGNED),
            Route("POST", "/s3tokens", self.s3, "identity:s3tokens_validate", schema=body.SIGNED),
        ]

    async def ec2(self, request: Request) -> Answer:
        signed, key = await self._signed(request)
        signature.verify_ec2(key.secret, signed, self._clock.now() / SECOND)
        return await self._answer(request, key, shown=True)

    async def s3(self, request: Request) -> Answer:
        signed, key = await self._signed(request)
        signature.verify_s3(key.secret, signed)
        return await self._answer(request, key, shown=False)

    async def _signed(self, request: Request) -> tuple[Mapping[str, Any], AccessKey]:
        given = request.json
        signed = given.get("credentials") or given.get("credential") or given.get("ec2Credentials") or {}
        if "access" not in signed:
            raise Unauthenticated(signature.REFUSED)
        return signed, await self._credentials.find_key(signed["access"])

    async def _answer(self, request: Request, key: AccessKey, *, shown: bool) -> Response:
        issued: Issued = await self._login.by_access_key(key.user_id, key.project_id)
        catalog = show_catalog(await self._catalog.listings(), issued.session, request.base_url)
        headers = [("x-subject-token", issued.token)] if shown else []
        return Response.json(view.token(issued.session, catalog), 200, headers)


async def _own_target(request: Request) -> Mapping[str, str | None]:
    return {"target.credential.user_id": request.context.user_id}


async def _no_target(request: Request) -> Mapping[str, str | None]:
    """The owner is in the body, which is checked later: here only whether the caller may have one at all."""
    return {"target.credential.user_id": request.context.user_id}


def _check_owner(request: Request, rule: str, user_id: str) -> None:
    if not request.permits(rule, **{"target.credential.user_id": user_id}):
        raise Forbidden("You are not authorized to perform the requested action.", rule=rule)


def _view(one: Credential, request: Request) -> dict[str, Any]:
    return {
        "id": one.id,
        "user_id": one.user_id,
        "project_id": one.project_id,
        "type": one.type,
        "blob": one.blob,
        "links": {"self": f"{request.service_url}/v3/credentials/{one.id}"},
    }


def _key_view(key: AccessKey, request: Request) -> dict[str, Any]:
    place = f"{request.service_url}/v3/users/{key.user_id}/credentials/OS-EC2/{key.access}"
    return {
        "user_id": key.user_id,
        "tenant_id": key.project_id,
        "access": key.access,
        "secret": key.secret,
        "trust_id": None,
        "links": {"self": place},
    }
