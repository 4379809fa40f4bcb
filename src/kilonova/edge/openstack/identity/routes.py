"""Everything under `/identity`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from kilonova.cloud.identity.application_credential import ApplicationCredentials
from kilonova.cloud.identity.authenticator import Authenticator
from kilonova.cloud.identity.catalog import CatalogService
from kilonova.cloud.identity.catalog_store import Noun
from kilonova.cloud.identity.credential import Credentials
from kilonova.cloud.identity.limit import Limits
from kilonova.cloud.identity.login import Login
from kilonova.cloud.identity.model import Kind
from kilonova.cloud.identity.service import Directory
from kilonova.cloud.identity.trust import Trusts
from kilonova.core.context import Context
from kilonova.edge.openstack.auth import Gate, build_service
from kilonova.edge.openstack.fault import identity_fault
from kilonova.edge.openstack.identity.application_credential import ApplicationCredentialRoutes
from kilonova.edge.openstack.identity.assignment import GrantRoutes
from kilonova.edge.openstack.identity.catalog import CatalogRoutes, discovery_routes
from kilonova.edge.openstack.identity.credential import CredentialRoutes, SignedRoutes
from kilonova.edge.openstack.identity.directory import KindRoutes, OwnRoutes
from kilonova.edge.openstack.identity.group import MemberRoutes
from kilonova.edge.openstack.identity.inference import InferenceRoutes
from kilonova.edge.openstack.identity.limit import LimitRoutes
from kilonova.edge.openstack.identity.project import ProjectRoutes
from kilonova.edge.openstack.identity.role_assignment import RoleAssignmentRoutes
from kilonova.edge.openstack.identity.throttle import Throttle
from kilonova.edge.openstack.identity.token import TokenRoutes
from kilonova.edge.openstack.identity.trust import TrustRoutes
from kilonova.edge.openstack.policy import Enforcer
from kilonova.kit.clock import Clock
from kilonova.kit.http import Route, Service, unbuilt

_KINDS: Final[tuple[Kind, ...]] = ("domain", "user", "group", "role")
_NOUNS: Final[tuple[Noun, ...]] = ("region", "service", "endpoint")
_UNBUILT: Final = (
    "/auth/OS-FEDERATION/{rest:path}",
    "/policies",
    "/policies/{rest:path}",
    "/users/{user_id}/{rest:path}",
    "/projects/{project_id}/{rest:path}",
    "/domains/{domain_id}/{rest:path}",
    "/OS-FEDERATION/{rest:path}",
    "/OS-OAUTH1/{rest:path}",
    "/OS-REVOKE/{rest:path}",
    "/OS-EP-FILTER/{rest:path}",
    "/OS-SIMPLE-CERT/{rest:path}",
)
_GUESSED: Final = {("POST", "/auth/tokens"), ("POST", "/users/{user_id}/password")}
_MAY_BE_NONE: Final = frozenset({"target.role.domain_id"})
"""Rules ask whether a role belongs to the whole cloud."""


class IdentityGate(Gate):
    """Identity's rules speak of `target.user.id` and the like: the ids in the path, else the caller's own."""

    def permits(self, context: Context, rule: str, target: Mapping[str, Any]) -> bool:
        named = {f"target.{kind}.id": target.get(f"{kind}_id") for kind in ("user", "project", "domain")}
        # To oslo.policy None equals the None of a token that has no domain: what is not known is left out.
        known = {key: value for key, value in {**named, **target}.items() if value is not None or key in _MAY_BE_NONE}
        return super().permits(context, rule, known)


@dataclass(frozen=True, slots=True)
class IdentityServices:
    """What stands behind the Identity API."""

    authenticator: Authenticator
    login: Login
    directory: Directory
    catalog: CatalogService
    applications: ApplicationCredentials
    credentials: Credentials
    trusts: Trusts
    limits: Limits
    clock: Clock


def build_identity(
    services: IdentityServices,
    enforcer: Enforcer,
    *,
    prefix: str = "/identity",
    observe: Callable[[str, str, int, float], None] | None = None,
    throttle: Throttle | None = None,
) -> Service:
    """The identity service. `enforcer` holds `identity.policy.RULES`."""
    directory, catalog = services.directory, services.catalog
    v3: list[Route] = [
        *TokenRoutes(services.login, directory, catalog).routes(),
        *(route for noun in _NOUNS for route in CatalogRoutes(noun, catalog).routes()),
        *GrantRoutes(directory).routes(),
        *RoleAssignmentRoutes(directory).routes(),
        *InferenceRoutes(directory).routes(),
        *MemberRoutes(directory).routes(),
        *ProjectRoutes(directory).routes(),
        *OwnRoutes(directory).routes(),
        *ApplicationCredentialRoutes(services.applications).routes(),
        *CredentialRoutes(services.credentials).routes(),
        *SignedRoutes(services.credentials, services.login, catalog, services.clock).routes(),
        *TrustRoutes(services.trusts).routes(),
        *LimitRoutes(services.limits).routes(),
        *(route for kind in _KINDS for route in KindRoutes(kind, directory).routes()),
        *unbuilt(*_UNBUILT),
    ]
    throttle = throttle or Throttle()
    v3 = [throttle.guard(route) if (route.method, route.path) in _GUESSED else route for route in v3]
    routes = [*discovery_routes(), *(_under(route, "/v3") for route in v3)]
    gate = IdentityGate(services.authenticator, enforcer)
    return build_service("identity", prefix, routes, gate, identity_fault, observe=observe)


def _under(route: Route, root: str) -> Route:
    return replace(route, path=root + route.path)
