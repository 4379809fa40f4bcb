"""What a server looks like at each microversion, and what its phase is called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kilonova.cloud.server.model import FlavorCopy, KeyCopy, NicView, Server
from kilonova.cloud.server.phase import MACHINE
from kilonova.core.errors import Conflict
from kilonova.edge.openstack.compute.link import Links
from kilonova.edge.openstack.compute.server.state import STATES, STATUSES, phases_of, refusal
from kilonova.edge.openstack.compute.server.view import ServerView, Sight

LINKS = Links("http://c/compute/v2.1", "http://c/compute")
NIC = NicView(port_id="p", network_id="n", network_label="private", mac="fa:16:3e:00:00:01",
              addresses=(("s4", "10.0.0.3", 4), ("s6", "fd00::3", 6)))  # fmt: skip
SERVER = Server(
    id="4c142f4b-e90e-470c-8a14-b1506bdf48d0", ec2_id="i-1", project_id="p1", user_id="u1", name="web",
    description="d", hostname="web", phase="active", fence=1, version=1, host_id="h", host_name="host1", zone="nova",
    requested_zone="nova", flavor=FlavorCopy(id="1", name="m1", vcpus=1, memory_mb=64, root_gb=1, swap_mb=2),
    image_id="c4c21afb-2abb-4fa9-b588-3e7433fe1535", image={"properties": {}}, key=KeyCopy(name="k", public_key="ssh"),
    user_data="aGk=", config_drive=True, metadata={"a": "b"}, nics=(NIC,), security_groups=("default",),
    admin_password="secret", reservation_id="r-1", launch_index=0, power="running", fault=None, locked=False,
    created_at=1_700_000_000_000_000, updated_at=1_700_000_001_000_000, launched_at=1_700_000_002_000_003,
    terminated_at=0,
)  # fmt: skip
ADDED = {
    9: {"locked"}, 19: {"description"}, 26: {"tags"}, 63: {"trusted_image_certificates"}, 71: {"server_groups"},
    73: {"locked_reason"}, 90: {"OS-EXT-SRV-ATTR:hostname"}, 96: {"pinned_availability_zone"},
}  # fmt: skip


def show(minor: int, server: Server = SERVER, **sight: Any) -> dict[str, Any]:
    return ServerView(minor, LINKS, Sight(**sight), "abcdef").show(server)


def test_each_microversion_adds_just_its_own_attributes() -> None:
    for minor in range(2, 97):
        assert show(minor).keys() - show(minor - 1).keys() == ADDED.get(minor, set()), minor
        assert not show(minor - 1).keys() - show(minor).keys(), minor


def test_operators_see_where_it_runs_and_others_do_not() -> None:
    secret = {key for key in show(96, attributes=True) if key.startswith("OS-EXT-SRV-ATTR")}
    assert len(secret) == 10
    assert {key for key in show(96) if key.startswith("OS-EXT-SRV-ATTR")} == {"OS-EXT-SRV-ATTR:hostname"}
    assert {key for key in show(1, attributes=True) if key.startswith("OS-EXT-SRV-ATTR")} == {
        "OS-EXT-SRV-ATTR:host", "OS-EXT-SRV-ATTR:hypervisor_hostname", "OS-EXT-SRV-ATTR:instance_name",
    }  # fmt: skip
    assert "secret" not in repr(show(96, attributes=True, details=True))


def test_the_flavor_is_a_link_and_from_2_47_a_copy() -> None:
    links = [{"rel": "bookmark", "href": "http://c/compute/flavors/1"}]
    assert show(46)["flavor"] == {"id": "1", "links": links}
    flavor = {"original_name": "m1", "vcpus": 1, "ram": 64, "disk": 1, "ephemeral": 0, "swap": 2}
    assert show(47)["flavor"] == {**flavor, "extra_specs": {}}
    assert show(47, extra_specs=False)["flavor"] == flavor


def test_the_answer_to_a_change_grows_at_2_75() -> None:
    old, new = (ServerView(minor, LINKS, Sight(), "abcdef").changed(SERVER) for minor in (74, 75))
    assert new == show(75)
    assert old["addresses"]["private"] == [{"version": 4, "addr": "10.0.0.3"}, {"version": 6, "addr": "fd00::3"}]
    assert not any(key.startswith(("OS-EXT", "OS-SRV", "os-")) or key == "key_name" for key in old)


def test_times_names_and_links_are_as_nova_writes_them() -> None:
    shown = show(1)
    assert (shown["created"], shown["OS-SRV-USG:launched_at"]) == (
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:22.000003",
    )
    assert shown["OS-SRV-USG:terminated_at"] is None
    assert shown["links"][0] == {"rel": "self", "href": f"http://c/compute/v2.1/servers/{SERVER.id}"}
    assert len(shown["hostId"]) == 56
    assert shown["hostId"] != show(1, replace(SERVER, project_id="p2"))["hostId"]
    assert show(1, replace(SERVER, host_name=""))["hostId"] == ""
    assert shown["config_drive"] == "True"
    assert shown["OS-EXT-STS:power_state"] == 1


def test_a_fault_tells_details_only_to_operators() -> None:
    fault = {"code": 500, "message": "No valid host", "details": "private", "created": SERVER.created_at}
    failed = replace(SERVER, phase="error", fault=fault)
    public = {"code": 500, "message": "No valid host", "created": "2023-11-14T22:13:20Z"}
    assert show(1, failed)["fault"] == public
    assert show(1, failed, details=True)["fault"] == {**public, "details": "private"}
    assert "progress" not in show(1, failed)
    assert "fault" not in show(1, replace(failed, phase="active"))


def test_every_phase_has_a_status_that_the_api_knows() -> None:
    assert MACHINE.states | {"deleted"} <= STATES.keys()
    assert {state.status for state in STATES.values()} <= STATUSES
    assert phases_of("REBOOT") == ["active.rebooting"]
    assert phases_of("RESCUE") == ["rescued", "rescued.deleting", "rescued.unrescuing"]


@pytest.mark.parametrize(
    ("event", "phase", "verb", "where"),
    [
        ("stop", "stopped", "stop", "vm_state stopped"),
        ("stop", "active.rebooting", "stop", "task_state rebooting"),
        ("start", "active.stopping", "start", "vm_state active"),
        ("reboot", "building.spawning", "reboot", "vm_state building"),
    ],
)
def test_a_refusal_names_what_is_in_the_way(event: str, phase: str, verb: str, where: str) -> None:
    with pytest.raises(Conflict) as refused:
        MACHINE.next(event, phase)
    assert refusal(refused.value, verb, "S").message == f"Cannot '{verb}' instance S while it is in {where}"
    other = Conflict("Instance S is locked", state="active")
    assert refusal(other, "stop", "S") is other
