"""A Network API in this process, and clients of four kinds."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from kilonova.cloud.network.address import mac_source
from kilonova.cloud.network.bootstrap import bootstrap
from kilonova.cloud.network.ground import Ground
from kilonova.cloud.network.service import NetworkServices
from kilonova.core.context import Context
from kilonova.core.errors import Unauthenticated
from kilonova.core.ids import new_uuid
from kilonova.edge.openstack.network.policy import RULES
from kilonova.edge.openstack.network.routes import build_network_service
from kilonova.edge.openstack.policy import Enforcer
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import metadata, open_database
from kilonova.kit.http import App, Request, Service

ROLES = {"admin": {"admin", "member", "reader"}, "eve": {"reader"}}
PLURALS = {"rbac_policy": "rbac-policies"}
NOBODY = "11111111-2222-4333-8444-555555555555"


class Tokens:
    """A gate that knows ann, bob, eve (a reader) and admin, each in a project of that name."""

    def __init__(self) -> None:
        self._enforcer = Enforcer(RULES)

    async def authenticate(self, request: Request) -> Context:
        name = request.header("x-auth-token")
        if name not in ("ann", "bob", "admin", "eve"):
            raise Unauthenticated("no")
        roles = frozenset(ROLES.get(name, {"member", "reader"}))
        return Context(name, name, roles, request.request_id, is_admin=name == "admin")

    def permits(self, context: Context, rule: str, target: Mapping[str, Any]) -> bool:
        return self._enforcer.permits(context, rule, target)


class Site:
    """A Network API and its clients."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(App([service])), base_url="http://cloud")

    async def ask(self, method: str, path: str, body: Any = None, *, who: str = "ann", expect: int = 200) -> Any:
        answer = await self._client.request(
            method, f"/network{path}", headers={"x-auth-token": who}, **({} if body is None else {"json": body})
        )
        assert answer.status_code == expect, (answer.status_code, answer.text)
        return answer.json() if answer.content else None

    async def make(self, member: str, who: str = "ann", **values: Any) -> dict[str, Any]:
        path = f"/v2.0/{PLURALS.get(member, member + 's').replace('_', '-')}"
        made: dict[str, Any] = (await self.ask("POST", path, {member: values}, who=who, expect=201))[member]
        return made

    async def fails(self, method: str, path: str, body: Any = None, *, who: str = "ann", expect: int) -> str:
        """The kind of the failure."""
        fault = await self.ask(method, path, body, who=who, expect=expect)
        return str(fault["NeutronError"]["type"])

    async def routed(self, cidr: str = "10.5.0.0/24", who: str = "ann") -> tuple[str, str, str, str]:
        """A network behind a router: (outside network, router, network, subnet)."""
        (public,) = (await self.ask("GET", "/v2.0/networks?router:external=True"))["networks"]
        network, subnet = await self.network(cidr, who)
        router = await self.make("router", who, external_gateway_info={"network_id": public["id"]})
        await self.ask("PUT", f"/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet}, who=who)
        return public["id"], router["id"], network, subnet

    async def network(self, cidr: str = "10.5.0.0/24", who: str = "ann", **values: Any) -> tuple[str, str]:
        network = await self.make("network", who, name="n", **values)
        subnet = await self.make("subnet", who, network_id=network["id"], ip_version=4, cidr=cidr)
        return network["id"], subnet["id"]


@asynccontextmanager
async def opened(place: Path) -> AsyncIterator[Site]:
    """A site on a new database, with the networks that every cloud begins with."""
    db = await open_database(f"sqlite:///{place}/test.db", SystemClock())
    await db.write(lambda tx: metadata.create_all(tx.connection))
    ground = Ground(db, new_uuid, mac_source(secrets.token_bytes), lambda change: None)
    await bootstrap(ground, Context("admin", "admin", frozenset({"admin"}), "req-1", is_admin=True))
    yield Site(build_network_service(NetworkServices(ground), Tokens()))
    await db.close()
