"""The table of routes: every rule is known, every operation of the API is there or refused, at its versions."""

from __future__ import annotations

from typing import Any

from kilonova.edge.openstack.compute.policy import RULES
from kilonova.edge.openstack.compute.routes import ComputeServices, build_compute
from kilonova.edge.openstack.compute.version import MAXIMUM
from kilonova.kit.http import AUTHENTICATED, PUBLIC, Route
from kilonova.kit.http.match import Matcher
from kilonova.kit.http.route import refuse_unbuilt


class Nothing:
    """Stands where nothing is asked."""

    permits = None

    def __getattr__(self, name: str) -> Any:
        return self


NOTHING: Any = Nothing()
SERVICES = ComputeServices(**dict.fromkeys(ComputeServices.__dataclass_fields__, NOTHING))
ROUTES = build_compute(SERVICES, NOTHING, "abcdef").routes
MATCHER = Matcher(ROUTES, ("",))
SERVER = "/servers/4c142f4b-e90e-470c-8a14-b1506bdf48d0"


def found(method: str, path: str, minor: int) -> list[Route]:
    routes, _, _ = MATCHER.find(method, f"v2.1{path}".split("/"))
    return [route for route in routes if route.serves((2, minor))]


def is_built(method: str, path: str, minor: int) -> bool | None:
    """None where the API has no such operation at this version."""
    routes = found(method, path, minor)
    return None if not routes else routes[0].handler is not refuse_unbuilt


def test_every_rule_of_a_route_is_a_rule_of_the_policy() -> None:
    known = {rule.name for rule in RULES} | {AUTHENTICATED, PUBLIC}
    assert {route.policy for route in ROUTES} <= known
    assert all((route.min_version or MAXIMUM) <= MAXIMUM for route in ROUTES)


def test_the_project_may_stand_in_the_path() -> None:
    for method, path in (("GET", "/servers"), ("POST", f"{SERVER}/action"), ("GET", "/os-quota-sets/x/detail")):
        assert found(method, path, 1)
        assert found(method, "/" + "a" * 32 + path, 1)


def test_what_is_not_built_is_refused_just_where_the_api_has_it() -> None:
    for path, first, last in (
        ("/os-snapshots", 1, 35), ("/os-hosts/h/reboot", 1, 42), ("/os-cells/detail", 1, 3),
        ("/images/x/metadata", 1, 38), ("/os-assisted-volume-snapshots", 1, 104),
    ):  # fmt: skip
        for minor in range(1, 105):
            assert is_built("GET", path, minor) is (False if first <= minor <= last else None), (path, minor)
    assert is_built("GET", f"{SERVER}/tags", 25) is None
    assert is_built("GET", f"{SERVER}/tags", 26)
    assert is_built("PUT", f"{SERVER}/tags", 26)
    assert is_built("DELETE", "/os-services/x", 96) is False


def test_actions_come_and_go_with_the_version() -> None:
    def actions(minor: int) -> set[str]:
        return {r.action for r in found("POST", f"{SERVER}/action", minor) if r.handler.__name__ != "_refuse_absent"}

    assert {"os-start", "pause", "addFixedIp", "os-getRDPConsole"} <= actions(1)
    assert actions(5) - actions(6) == {f"os-get{kind}Console" for kind in ("VNC", "SPICE", "RDP", "Serial")}
    assert actions(17) - actions(16) == {"trigger_crash_dump"}
    assert len(actions(104)) == 32
