"""Logging in, and asking about tokens (Identity API v3, "Authentication and token management")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.identity.catalog import CatalogService
from kilonova.cloud.identity.login import Login
from kilonova.cloud.identity.model import Named, Session, Wish
from kilonova.cloud.identity.proof import Proof
from kilonova.cloud.identity.service import Directory
from kilonova.core.errors import Forbidden, Invalid, NotBuilt, NotFound, Unauthenticated
from kilonova.edge.openstack.identity import body, view
from kilonova.edge.openstack.identity.catalog import show_catalog, show_catalog_to
from kilonova.kit.http import PUBLIC, Request, Response, Route
from kilonova.kit.http.route import Answer

_METHODS: Final = ("password", "token", "totp", "application_credential")
_UNBUILT_METHODS: Final = frozenset({"oauth1", "mapped", "saml2", "openid", "kerberos", "external"})
_RULES_HEADER: Final = "openstack-identity-access-rules"
_VARY: Final = ("vary", "X-Auth-Token")


class TokenRoutes:
    """The routes under `/v3/auth`."""

    def __init__(self, login: Login, directory: Directory, catalog: CatalogService) -> None:
        self._login = login
        self._directory = directory
        self._catalog = catalog

    def routes(self) -> list[Route]:
        tokens = "/auth/tokens"
        return [
            Route("POST", tokens, self.issue, PUBLIC, schema=body.LOGIN, success=201),
            Route("GET", tokens, self.show, "identity:validate_token", target=self._subject),
            Route("HEAD", tokens, self.show, "identity:check_token", target=self._subject),
            Route("DELETE", tokens, self.revoke, "identity:revoke_token", target=self._subject),
            Route("GET", "/auth/catalog", self.show_catalog, "identity:get_auth_catalog"),
            Route("GET", "/auth/projects", self.list_projects, "identity:get_auth_projects"),
            Route("GET", "/auth/domains", self.list_domains, "identity:get_auth_domains"),
            Route("GET", "/auth/system", self.list_system, "identity:get_auth_system"),
        ]

    async def issue(self, request: Request) -> Answer:
        auth = request.json["auth"]
        issued = await self._login.log_in(read_proofs(auth), _wish(auth.get("scope")))
        return await self._shown(request, issued.session, 201, issued.token)

    async def show(self, request: Request) -> Answer:
        return await self._shown(request, request.state["subject"], 200, request.header("x-subject-token") or "")

    async def revoke(self, request: Request) -> Answer:
        await self._login.revoke(request.header("x-subject-token") or "")
        return Response(204)

    async def show_catalog(self, request: Request) -> Answer:
        link = f"{request.service_url}/v3/auth/catalog"
        if request.context.project_id is None and request.context.domain_id is None and not request.context.system:
            raise Forbidden("You are not authorized to perform the requested action: get_auth_catalog without a scope.")
        return {"catalog": show_catalog_to(await self._catalog.listings(), request), "links": {"self": link}}

    async def list_projects(self, request: Request) -> Answer:
        root = f"{request.service_url}/v3"
        rows = [
            view.project(row, root)
            for row in await self._directory.rights.projects_of(request.context.user_id, enabled=True)
        ]
        return view.collection("projects", rows, f"{root}/auth/projects")

    async def list_domains(self, request: Request) -> Answer:
        root = f"{request.service_url}/v3"
        rows = [view.domain(row, root) for row in await self._directory.rights.domains_of(request.context.user_id)]
        return view.collection("domains", rows, f"{root}/auth/domains")

    async def list_system(self, request: Request) -> Answer:
        held = await self._directory.rights.holds_system(request.context.user_id)
        rows: list[dict[str, Any]] = [{"all": True}] if held else []
        return view.collection("system", rows, f"{request.service_url}/v3/auth/system")

    async def _subject(self, request: Request) -> Mapping[str, str | None]:
        """The policy target of a question about a token: its user. The token found is kept for the handler."""
        token = request.header("x-subject-token")
        if not token:
            raise NotFound("Could not find token: it goes in the X-Subject-Token header.")
        try:
            session = await self._login.validate(token, allow_expired=_flag(request, "allow_expired"))
        except Unauthenticated:
            raise NotFound("Could not find token.") from None
        if session.access_rules is not None and not _enforces_rules(request):
            # Who does not know of access rules would take the token for one that may do everything.
            raise NotFound("Could not find token.")
        request.state["subject"] = session
        return {"target.token.user_id": session.user.id}

    async def _shown(self, request: Request, session: Session, status: int, token: str) -> Response:
        catalog = None
        if "nocatalog" not in request.query:
            catalog = show_catalog(await self._catalog.listings(), session, request.base_url)
        document = view.token(session, catalog)
        return Response.json(document, status, [("x-subject-token", token), _VARY])


def read_proofs(auth: Mapping[str, Any]) -> list[Proof]:
    """What a login's document offers. Raises Invalid, NotBuilt, Unauthenticated for a method that there is not."""
    identity = auth["identity"]
    methods = list(dict.fromkeys(identity["methods"]))
    if set(methods) & _UNBUILT_METHODS:
        raise NotBuilt("This authentication method is not implemented")
    if not set(methods) <= set(_METHODS):
        raise Unauthenticated("Attempted to authenticate with an unsupported method.")
    if any(method not in identity for method in methods):
        raise Invalid("Expecting to find in identity exactly the methods that it names.")
    if "application_credential" in methods and "scope" in auth:
        raise Unauthenticated("Invalid application credential: Application credentials cannot request a scope.")
    return [_proof(method, identity[method]) for method in methods]


def _proof(method: str, given: Mapping[str, Any]) -> Proof:
    if method == "token":
        return Proof("token", given["id"])
    if method == "application_credential":
        return _application_proof(given)
    user = given["user"]
    return Proof(method, user["passcode" if method == "totp" else "password"], _placed(user, "user"))


def _application_proof(given: Mapping[str, Any]) -> Proof:
    secret = given["secret"]
    if "id" in given:
        return Proof("application_credential", secret, credential_id=given["id"])
    if "name" not in given or "user" not in given:
        raise Invalid("Expecting to find id, or name and user, in application_credential.")
    who = _placed(given["user"], "user")
    return Proof("application_credential", secret, who, credential_name=given["name"])


def _flag(request: Request, name: str) -> bool:
    value = request.query_one(name)
    return value is not None and value.lower() not in ("0", "false")


def _enforces_rules(request: Request) -> bool:
    """Whether whoever asks says that it obeys access rules (as keystonemiddleware does, by its version of them)."""
    try:
        return float(request.header(_RULES_HEADER) or 0) >= 1
    except ValueError:
        return False


def _wish(scope: Any) -> Wish:
    if scope is None:
        return Wish()
    if scope == "unscoped":
        return Wish("unscoped")
    if not isinstance(scope, dict) or len(scope) != 1:
        raise Invalid("Expecting to find exactly one of project, domain, system, OS-TRUST:trust or unscoped in scope.")
    if "project" in scope:
        return Wish("project", _placed(scope["project"], "project"))
    if "domain" in scope:
        return Wish("domain", _named(scope["domain"], "domain"))
    if "system" in scope:
        return Wish("system")
    if "unscoped" in scope:
        return Wish("unscoped")
    if "OS-TRUST:trust" in scope:
        return Wish("project", trust_id=scope["OS-TRUST:trust"]["id"])
    raise NotBuilt("This kind of scope is not implemented")


def _placed(reference: Mapping[str, Any], noun: str) -> Named:
    """Something that lies in a domain: by id, or by name with its domain."""
    named = _named(reference, noun)
    if named.id is not None:
        return named
    domain = reference.get("domain")
    if domain is None:
        raise Invalid(f"Expecting to find domain in {noun}.")
    home = _named(domain, "domain")
    return Named(name=named.name, domain_id=home.id, domain_name=home.name)


def _named(reference: Mapping[str, Any], noun: str) -> Named:
    if "id" in reference:
        return Named(id=reference["id"])
    if "name" in reference:
        return Named(name=reference["name"])
    raise Invalid(f"Expecting to find id or name in {noun}.")
