"""What holds for every route of the whole product: a policy rule, and never a 500 whatever the body."""

from __future__ import annotations

import asyncio
import collections
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import schema_body
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from kilonova.cloud.server.command import flow_of
from kilonova.cloud.server.phase import ACTS
from kilonova.compose.control import Control
from kilonova.compose.edge import build_services
from kilonova.edge.openstack.image.metadef_schema import documents
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import metadata, open_database
from kilonova.kit.http import AUTHENTICATED, PUBLIC, App, Request, Route, Service, VersionedSchemas
from kilonova.settings import Settings
from kilonova.state import StateDir

EXAMPLES = 40
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHcTIZQ9hbP3sC0MPsQVZ6lBEXzC4wwg7jJ9Ga3TKlXk x"
NOWHERE = "9a1c0b52-5f59-44a1-9a0b-0c6f6f7d2a10"


class Product:
    """The composed product in this process, on SQLite, with the routes' handlers counted."""

    def __init__(self, place: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.sent: collections.Counter[str] = collections.Counter()
        self.reached: collections.Counter[str] = collections.Counter()
        self.statuses: collections.defaultdict[str, collections.Counter[int]] = collections.defaultdict(
            collections.Counter
        )
        self.loop.run_until_complete(self._build(place))

    async def _build(self, place: Path) -> None:
        state = StateDir(place)
        cloud_id = state.prepare()
        (place / "policy").mkdir(exist_ok=True)
        (place / "policy" / "placement.yaml").write_text('"placement:reshaper:reshape": "role:admin"\n')
        clock = SystemClock()
        db = await open_database(f"sqlite:///{state.database}", clock)
        await db.write(lambda tx: metadata.create_all(tx.connection))
        self.control = Control(Settings(state=place, driver="fake"), state, cloud_id, db, clock)
        await self.control.found()
        await self.control.blobs.start()
        self.services = [
            replace(s, routes=[self._counted(s, r) for r in s.routes]) for s in build_services(self.control)
        ]
        transport = httpx.ASGITransport(App(self.services), raise_app_exceptions=True)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://cloud")
        who = {"name": "admin", "password": state.password("admin"), "domain": {"id": "default"}}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        auth = {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}
        answer = await self.http.post("/identity/v3/auth/tokens", json={"auth": auth})
        self.token = answer.headers["x-subject-token"]
        self.project_id = answer.json()["token"]["project"]["id"]
        self.user_id = answer.json()["token"]["user"]["id"]
        await self._know()
        newest = {"x-auth-token": self.token, "openstack-api-version": "placement 1.39"}
        made = await self.http.post("/placement/resource_providers", headers=newest, json={"name": "one"})
        self.ids["resource_providers"] = made.json()["uuid"]

    def _counted(self, service: Service, route: Route) -> Route:
        name = _name(service, route)

        async def handler(request: Request) -> Any:
            self.reached[name] += 1
            return await route.handler(request)

        return replace(route, handler=handler)

    async def _make(self, path: str, kind: str, **values: Any) -> str:
        body = {kind: values} if kind else values
        answer = await self.http.post(path, headers={"x-auth-token": self.token}, json=body)
        assert answer.is_success, answer.text
        return str((answer.json()[kind] if kind else answer.json())["id"])

    async def _own(self, image_id: str) -> dict[str, str]:
        """An object of each kind to be changed, by the name of its collection."""
        make, network = self._make, "/network/v2.0"
        inside = await make(f"{network}/networks", "network", name="changed")
        subnet = await make(f"{network}/subnets", "subnet", network_id=inside, cidr="10.8.0.0/24", ip_version=4)
        server = {"name": "s", "imageRef": image_id, "flavorRef": "1", "networks": [{"uuid": inside}]}
        return {
            "networks": inside,
            "subnets": subnet,
            "ports": await make(f"{network}/ports", "port", network_id=inside),
            "routers": await make(f"{network}/routers", "router", name="changed"),
            "security-groups": await make(f"{network}/security-groups", "security_group", name="changed"),
            "subnetpools": await make(f"{network}/subnetpools", "subnetpool", prefixes=["10.64.0.0/10"]),
            "address-scopes": await make(f"{network}/address-scopes", "address_scope", name="changed", ip_version=4),
            "address-groups": await make(f"{network}/address-groups", "address_group", name="changed"),
            "rbac-policies": await make(
                f"{network}/rbac-policies",
                "rbac_policy",
                object_type="network",
                object_id=inside,
                action="access_as_shared",
                target_tenant=self.project_id,
            ),
            "servers": await make("/compute/v2.1/servers", "server", **server),
            "flavors": await make("/compute/v2.1/flavors", "flavor", name="changed", ram=1, vcpus=1, disk=1),
            "users": await make("/identity/v3/users", "user", name="changed"),
            "roles": await make("/identity/v3/roles", "role", name="changed"),
            "groups": await make("/identity/v3/groups", "group", name="changed"),
            "domains": await make("/identity/v3/domains", "domain", name="changed"),
            "projects": await make("/identity/v3/projects", "project", name="changed"),
            "services": await make("/identity/v3/services", "service", type="changed"),
            "regions": await make("/identity/v3/regions", "region", id="changed"),
            "credentials": await make(
                "/identity/v3/credentials", "credential", user_id=self.user_id, type="cert", blob="x"
            ),
            "os-quota-sets": self.project_id,
            "quotas": self.project_id,
        }

    async def _know(self) -> None:
        """Real ids, so that bodies get past what only looks names up."""
        headers = {"x-auth-token": self.token}
        networks = (await self.http.get("/network/v2.0/networks", headers=headers)).json()["networks"]
        subnets = (await self.http.get("/network/v2.0/subnets", headers=headers)).json()["subnets"]
        flavors = (await self.http.get("/compute/v2.1/flavors", headers=headers)).json()["flavors"]
        groups = (await self.http.get("/network/v2.0/security-groups", headers=headers)).json()["security_groups"]
        new = {"name": "bytes", "disk_format": "raw", "container_format": "bare"}
        image = (await self.http.post("/image/v2/images", headers=headers, json=new)).json()
        stream = {**headers, "content-type": "application/octet-stream"}
        await self.http.put(f"/image/v2/images/{image['id']}/file", headers=stream, content=b"some bytes")
        self.ids = {**await self._own(image["id"]), "namespaces": "changed"}
        held = {"objects": [{"name": NOWHERE}], "tags": [{"name": NOWHERE}]}
        catalog = {"namespace": "changed", **held, "properties": {NOWHERE: {"title": "t", "type": "string"}}}
        await self.http.post("/image/v2/metadefs/namespaces", headers=headers, json=catalog)
        outside = next(n["id"] for n in networks if n["router:external"])
        self.ids["floatingips"] = await self._make(
            "/network/v2.0/floatingips", "floatingip", floating_network_id=outside
        )
        schema_body.KNOWN.update(
            {
                "security_group_id": [groups[0]["id"], "nowhere"],
                "imageRef": [image["id"]],
                "public_key": [KEY, "ssh-rsa nothing"],
                "networks": ["none", "auto", [{"uuid": networks[0]["id"]}]],
                "network_id": [networks[0]["id"], "nowhere"],
                "events": [[{"name": "network-changed", "server_uuid": NOWHERE}], [{"name": "power-update"}]],
                "networkId": [networks[0]["id"], NOWHERE],
                "address": ["203.0.113.9", "10.0.0.3"],
                "fixed_address": ["10.0.0.3", "fe80::1"],
                "floating_network_id": [n["id"] for n in networks],
                "object_id": [networks[0]["id"], groups[0]["id"]],
                "internal_port_id": [self.ids["ports"], NOWHERE],
                "prefixes": [["10.128.0.0/16"], ["fd00::/48", "bad"]],
                "subnet_id": [subnets[0]["id"], "nowhere"],
                "flavorRef": [flavors[0]["id"], "none"],
                "project_id": [self.project_id],
                "tenant_id": [self.project_id],
                "namespace": ["changed", "another"],
                "resource_class": ["VCPU", "CUSTOM_A"],
                "cidr": ["10.7.0.0/24", "10.0.0.0/24", "fd00::/64", "bad"],
            }
        )

    def send(self, service: Service, route: Route, body: Any) -> httpx.Response | None:
        """One request with this body; None when JSON cannot hold it."""
        segments = route.path.split("/")
        for at, segment in enumerate(segments):
            if segment.startswith("{"):
                segments[at] = self.ids.get(segments[at - 1], NOWHERE)
            if segment == "{user_id}" and segments[at + 1 :] == ["application_credentials"]:
                segments[at] = self.user_id  # nobody else may make one
        path = "/".join(segments)
        headers = {"x-auth-token": self.token, "content-type": route.media[0]}
        if service.versioning is not None:
            major, minor = route.max_version or service.versioning.maximum
            headers["openstack-api-version"] = f"{service.name} {major}.{minor}"
        try:
            content = msgspec.json.encode(body)
        except (ValueError, UnicodeEncodeError):
            return None
        root = service.roots[0]
        url = f"{service.prefix}{root}{path}"
        answer = self.loop.run_until_complete(self.http.request(route.method, url, headers=headers, content=content))
        name = _name(service, route)
        self.sent[name] += 1
        self.statuses[name][answer.status_code] += 1
        return answer

    def close(self) -> None:
        self.loop.run_until_complete(self.http.aclose())
        self.loop.run_until_complete(self.control.db.close())
        self.loop.close()


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    one = Product(tmp_path_factory.mktemp("product"))
    yield one
    one.close()


def _name(service: Service, route: Route) -> str:
    return f"{service.name} {route.method} {route.path}" + (f" {route.action}" if route.action else "")


DESCRIBING = {f"image GET /v2/{what}" for what in ("schemas/{name}", "info/import", "info/stores", "info/usage")}
DESCRIBING |= {f"image GET /v2/schemas/metadefs/{what}" for what in documents()}
DESCRIBING |= {"network GET /v2.0/extensions", "network GET /v2.0/extensions/{alias}"}
"""What a service says of itself, to whoever has a token."""
FLAVORS = ("flavors", "flavors/detail", "flavors/{flavor_id}")
OPEN = {f"compute GET /v2.1/{root}{what}" for root in ("", "{project_id:[0-9a-f-]+}/") for what in FLAVORS}
"""Nova has no rule for reading flavors; which ones a caller sees is a question of access lists."""
KEYSTONE_OPEN = {"identity POST /v3/auth/tokens", "identity POST /v3/users/{user_id}/password"}
"""Whoever knows the password may ask for a token, or change the password."""


def test_every_route_has_a_rule_that_its_policy_knows(product: Product) -> None:
    """Public routes change nothing, but for those that ask for a password; every other one is denied without a rule."""
    for service in product.services:
        gate = getattr(service.gate, "_gate", service.gate)
        for route in service.routes:
            name = _name(service, route)
            if route.policy == PUBLIC:
                assert route.method in ("GET", "HEAD") or name in KEYSTONE_OPEN, name
            elif route.policy == AUTHENTICATED:
                unbuilt = route.handler.__closure__ is not None and "refuse" in str(
                    [c.cell_contents for c in route.handler.__closure__ if isinstance(c.cell_contents, Route)]
                )
                assert unbuilt or name in DESCRIBING | OPEN, name
            else:
                assert gate._enforcer.has(route.policy), name


def test_every_flow_that_is_started_is_registered(product: Product) -> None:
    """A service starts a flow by its name in a row; a name that no worker knows would wait for ever."""
    assert {flow_of(event) for event in (*ACTS, "create", "delete")} <= product.control.engine.flows


def test_generated_bodies_never_break_anything(product: Product, capsys: pytest.CaptureFixture[str]) -> None:
    takers = [(s, r) for s in product.services for r in s.routes if r.schema is not None and r.takes == "json"]
    # With and without the project in the path it is the same route.
    routes = [(s, r) for s, r in takers if "/{project_id:" not in r.path]
    assert len(routes) > 35
    for service, route in routes:
        _hammer(product, service, route)
    with capsys.disabled():
        print("\nroute: bodies sent, passed the schema and reached the handler, accepted; answers")  # noqa: T201
        for name in sorted(product.sent):
            told = ", ".join(f"{s}×{n}" for s, n in sorted(product.statuses[name].items()))
            accepted = sum(n for s, n in product.statuses[name].items() if s < 300)
            print(f"  {name}: {product.sent[name]}, {product.reached[name]}, {accepted}; {told}")  # noqa: T201
    silent = [_name(s, r) for s, r in routes if not product.reached[_name(s, r)]]
    assert silent == []
    findings = product.loop.run_until_complete(product.control.audit.look())
    assert [f for f in findings if f.kind != "server"] == []


def _hammer(product: Product, service: Service, route: Route) -> None:
    schema = route.schema
    if isinstance(schema, VersionedSchemas):
        newest = route.max_version or (service.versioning.maximum if service.versioning else (2, 1))
        schema = schema.at(newest)
    assert schema is not None

    @seed(20261123)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def hammer(data: st.DataObject) -> None:
        body = data.draw(schema_body.bodies(schema))
        if isinstance(body, float) and not math.isfinite(body):
            return
        with suppress(httpx.InvalidURL):
            answer = product.send(service, route, body)
            if answer is not None:
                assert answer.status_code < 500 or answer.status_code == 501, (_name(service, route), body, answer.text)

    hammer()
