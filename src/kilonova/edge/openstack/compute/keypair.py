"""`/os-keypairs` (API reference "Keypairs"): a user's own, and from 2.10 other users' for administrators."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.keypair.model import Keypair
from kilonova.cloud.keypair.service import KeypairService
from kilonova.core.errors import Forbidden
from kilonova.edge.openstack.compute.link import exact, page_path
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.edge.openstack.compute.schema import NAME, PAGE, TEXT, boxed, record, strict_from
from kilonova.edge.openstack.page import next_links, read_page
from kilonova.kit.http import Request, Response, Route, VersionedSchemas, multi
from kilonova.kit.http.schema import JsonSchema

_RULE: Final = f"{PREFIX}os-keypairs:"
_KEY: Final[JsonSchema] = {"type": "string", "maxLength": 65535}
_OLD_NAME: Final[JsonSchema] = {**NAME, "pattern": "^[a-zA-Z0-9 _-]+$"}
_NEW_NAME: Final[JsonSchema] = {**NAME, "pattern": "^[a-zA-Z0-9 _@.-]+$"}
_TYPED: Final[dict[str, JsonSchema]] = {"name": _OLD_NAME, "public_key": _KEY, "type": {"enum": ["ssh", "x509"]}}
_OWNED: Final[dict[str, JsonSchema]] = {**_TYPED, "user_id": {"type": "string", "minLength": 1, "maxLength": 64}}
_CREATE: Final = VersionedSchemas(
    {
        (2, 1): boxed("keypair", record({"name": _OLD_NAME, "public_key": _KEY}, "name")),
        (2, 2): boxed("keypair", record(_TYPED, "name")),
        (2, 10): boxed("keypair", record(_OWNED, "name")),
        (2, 92): boxed("keypair", record({**_OWNED, "name": _NEW_NAME}, "name", "public_key")),
    }
)
_ONE: Final = strict_from(75, {10: {"user_id": multi(TEXT)}})
_LIST: Final = strict_from(75, {10: {"user_id": multi(TEXT)}, 35: PAGE})


class KeypairRoutes:
    """Handlers of key pairs."""

    def __init__(self, keypairs: KeypairService) -> None:
        self._keypairs = keypairs

    def routes(self) -> list[Route]:
        one = "/os-keypairs/{name}"
        return [
            Route("GET", "/os-keypairs", self.list, f"{_RULE}index", query=_LIST),
            Route("POST", "/os-keypairs", self.create, f"{_RULE}create", schema=_CREATE),
            Route("GET", one, self.show, f"{_RULE}show", query=_ONE),
            Route("DELETE", one, self.delete, f"{_RULE}delete", query=_ONE),
        ]

    async def list(self, request: Request) -> dict[str, Any]:
        owner = _owner(request, "index", request.query_one("user_id"))
        paged = request.version >= (2, 35)
        page = read_page(request) if paged else None
        limit, marker = (page.limit, page.marker) if page else (1000, None)
        found = await self._keypairs.list(request.context, limit, marker, owner) if limit else []
        shown = [{"keypair": _brief(one, request)} for one in found]
        full = paged and bool(found) and len(found) == limit
        return {
            "keypairs": shown,
            **next_links(request, "keypairs", page_path(request), found[-1].name if full else None),
        }

    async def create(self, request: Request) -> Response:
        """With a public key an import; without one (below 2.92) a new pair, whose private key is told only here."""
        given = request.json["keypair"]
        owner = _owner(request, "create", given.get("user_id"))
        name, kind, public = given["name"], given.get("type", "ssh"), given.get("public_key")
        if public is not None:
            made, private = await self._keypairs.import_key(request.context, name, public, kind, owner), None
        else:
            made, private = await self._keypairs.generate(request.context, name, kind, owner)
        shown = {**_brief(made, request), "user_id": made.user_id}
        if private is not None:
            shown["private_key"] = private
        return Response.json({"keypair": shown}, 200 if request.version < (2, 2) else 201)

    async def show(self, request: Request) -> dict[str, Any]:
        owner = _owner(request, "show", request.query_one("user_id"))
        found = await self._keypairs.get(request.context, request.params["name"], owner)
        facts = {
            "user_id": found.user_id,
            "id": found.number,
            "created_at": exact(found.created_at),
            "updated_at": None,
            "deleted_at": None,
            "deleted": False,
        }
        return {"keypair": {**_brief(found, request), **facts}}

    async def delete(self, request: Request) -> Response:
        owner = _owner(request, "delete", request.query_one("user_id"))
        await self._keypairs.delete(request.context, request.params["name"], owner)
        return Response(202 if request.version < (2, 2) else 204)


def _owner(request: Request, verb: str, asked: str | None) -> str | None:
    """Whose key pairs are meant. Raises Forbidden for another user's, unless policy allows."""
    if asked is None or request.version < (2, 10) or asked == request.context.user_id:
        return None
    if not request.permits(_RULE + verb, user_id=asked):
        raise Forbidden(f"Policy doesn't allow {_RULE}{verb} to be performed.", rule=_RULE + verb)
    return asked


def _brief(found: Keypair, request: Request) -> dict[str, Any]:
    shown = {"name": found.name, "public_key": found.public_key, "fingerprint": found.fingerprint}
    return {**shown, "type": found.type} if request.version >= (2, 2) else shown
