"""Which notifications an event is, and that each has the fields of Nova's samples, no more and no fewer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kilonova.cloud.event.model import CHANGED, CREATED, DELETED, STATE, Event
from kilonova.cloud.server.model import FlavorCopy, KeyCopy, NicView, Server
from kilonova.cloud.server.phase import MACHINE, RESTING
from kilonova.edge.openstack.compute.notification.naming import event_types
from kilonova.edge.openstack.compute.notification.notifier import notifications

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHcTIZQ9hbP3sC0MPsQVZ6lBEXzC4wwg7jJ9Ga3TKlXk x"
SERVER = Server(
    id="4c142f4b-e90e-470c-8a14-b1506bdf48d0", ec2_id="i-1", project_id="p1", user_id="u1", name="web",
    description="d", hostname="web", phase="active", fence=1, version=1, host_id="h", host_name="host1", zone="nova",
    requested_zone="nova", flavor=FlavorCopy(id="1", name="m1", vcpus=1, memory_mb=64, root_gb=1, swap_mb=2),
    image_id="c4c21afb-2abb-4fa9-b588-3e7433fe1535", image={"properties": {"hw_architecture": "x86_64"}},
    key=KeyCopy(name="k", public_key=KEY), user_data="aGk=", config_drive=True, metadata={"a": "b"},
    nics=(NicView(port_id="p", network_id="n", network_label="private", mac="fa:16:3e:00:00:01",
                  addresses=(("s4", "10.0.0.3", 4), ("s6", "fd00::3", 6))),),
    security_groups=("default",), admin_password="secret", reservation_id="r-1", launch_index=0, power="running",
    fault=None, locked=False, created_at=1_700_000_000_000_000, updated_at=1_700_000_001_000_000,
    launched_at=1_700_000_002_000_003, terminated_at=0, tags=("red",),
)  # fmt: skip
INSTANCE = {
    "uuid", "user_id", "tenant_id", "reservation_id", "display_name", "display_description", "host_name", "host",
    "node", "os_type", "architecture", "availability_zone", "flavor", "image_uuid", "key_name", "kernel_id",
    "ramdisk_id", "created_at", "launched_at", "terminated_at", "deleted_at", "updated_at", "state", "power_state",
    "task_state", "progress", "ip_addresses", "block_devices", "metadata", "locked", "locked_reason",
    "auto_disk_config", "request_id", "action_initiator_user", "action_initiator_project",
}  # fmt: skip
UPDATE = {"state_update", "audit_period", "bandwidth", "old_display_name", "tags"}
CREATE = {"fault", "keypairs", "tags", "trusted_image_certificates", "instance_name"}
FLAVOR = {
    "flavorid", "name", "memory_mb", "vcpus", "root_gb", "ephemeral_gb", "swap", "rxtx_factor", "vcpu_weight",
    "disabled", "is_public", "extra_specs", "projects", "description",
}  # fmt: skip


def event(kind: str = STATE, **body: Any) -> Event:
    known = {"phase": "active", "power": "running", "host": "host1", "request_id": "req-1", **body}
    return Event(7, "p1", SERVER.id, 1_700_000_005_000_000, kind, known)


def moved(before: str, phase: str, move: str, **body: Any) -> Event:
    return event(before=before, phase=phase, event=move, **body)


NAMES = [
    (event(CREATED, phase="building.scheduling"), ["instance.create.start"]),
    (moved("building.networking", "building.spawning", "spawn"), ["instance.update"]),
    (moved("building.spawning", "active", "run"), ["instance.update", "instance.create.end"]),
    (moved("building.scheduling", "error", "fail", fault="no"), ["instance.update", "instance.create.error"]),
    (moved("active", "active.stopping", "stop"), ["instance.update", "instance.power_off.start"]),
    (moved("active.stopping", "stopped", "halt"), ["instance.update", "instance.power_off.end"]),
    (moved("active.stopping", "active", "return", fault="no"), ["instance.update"]),
    (moved("stopped", "stopped.starting", "start"), ["instance.update", "instance.power_on.start"]),
    (moved("active.rebooting", "active", "run"), ["instance.update", "instance.reboot.end"]),
    (moved("active.rebooting", "active", "return", fault="no"), ["instance.update", "instance.reboot.error"]),
    (moved("active", "active.resizing", "migrate"), ["instance.update", "instance.resize.start"]),
    (moved("active.resizing", "resized", "offer"), ["instance.update", "instance.resize.end"]),
    (moved("active.rebuilding", "error", "fail", fault="no"), ["instance.update", "instance.rebuild.error"]),
    (moved("active", "active.imaging", "image"), ["instance.update"]),
    (moved("active.imaging", "active", "return"), ["instance.update"]),
    (moved("active", "active.evacuating", "evacuate"), ["instance.update", "instance.evacuate"]),
    (moved("active.stopping", "error", "set error"), ["instance.update"]),
    (moved("active", "stopped", "halt"), ["instance.update"]),
    (moved("active.stopping", "active.deleting", "delete"), ["instance.update", "instance.delete.start"]),
    (moved("active.deleting", "error", "fail", fault="no"), ["instance.update"]),
    (event(DELETED, phase="deleted", before="active.deleting"), ["instance.delete.end"]),
    (event(CHANGED, changed=["name"], old_name="old"), ["instance.update"]),
    (event(CHANGED, changed=["locked"], locked=True), ["instance.lock"]),
    (event(CHANGED, changed=["locked", "locked_reason"], locked=False), ["instance.unlock"]),
    (event(CHANGED, changed=["locked_reason"]), ["instance.update"]),
]


@pytest.mark.parametrize(("happened", "expected"), NAMES)
def test_an_event_is_told_as_what_nova_calls_it(happened: Event, expected: list[str]) -> None:
    assert event_types(happened) == expected


def test_every_move_of_a_server_can_be_told() -> None:
    for move, ways in MACHINE.moves.items():
        for before, phase in ways.items():
            for message in notifications(moved(before, phase, move), SERVER, "abcdef"):
                data = message["payload"]["nova_object.data"]
                assert data["state"]
                silent = phase in RESTING or phase.endswith((".attaching", ".detaching"))
                assert (data["task_state"] is None) == (silent and phase != "building")


@pytest.mark.parametrize(("happened", "expected"), NAMES)
def test_payloads_have_the_fields_of_the_samples(happened: Event, expected: list[str]) -> None:
    for message, event_type in zip(notifications(happened, SERVER, "abcdef"), expected, strict=True):
        assert message["event_type"] == event_type
        assert message["publisher_id"] == "nova-compute:host1"
        payload = message["payload"]
        assert payload["nova_object.namespace"] == "nova"
        data = payload["nova_object.data"]
        name, version = payload["nova_object.name"], payload["nova_object.version"]
        more = {"instance.update": UPDATE, "instance.create": CREATE}.get(".".join(event_type.split(".")[:2]))
        if event_type.startswith("instance.rebuild"):
            assert (name, version) == ("InstanceActionRebuildPayload", "1.9")
            more = {"fault", "trusted_image_certificates"}
        assert data.keys() == INSTANCE | (more or {"fault"})
        assert data["flavor"]["nova_object.data"].keys() == FLAVOR
        assert message["priority"] == ("ERROR" if event_type.endswith(".error") else "INFO")
        assert "secret" not in repr(message)
        if event_type.endswith(".error"):
            assert data["fault"]["nova_object.data"]["exception_message"] == "no"


def test_what_is_told_of_a_server() -> None:
    (message,) = notifications(event(CHANGED, changed=["name"], old_name="old"), SERVER, "abcdef")
    assert message["timestamp"] == "2023-11-14 22:13:25.000000"
    data = message["payload"]["nova_object.data"]
    assert data["old_display_name"] == "old"
    assert data["audit_period"]["nova_object.data"] == {
        "audit_period_beginning": "2023-11-01T00:00:00Z", "audit_period_ending": "2023-11-14T22:13:25Z",
    }  # fmt: skip
    assert (data["power_state"], data["architecture"], data["tags"]) == ("running", "x86_64", ["red"])
    assert data["created_at"] == "2023-11-14T22:13:20Z"
    assert [ip["nova_object.data"]["address"] for ip in data["ip_addresses"]] == ["10.0.0.3", "fd00::3"]
    (made,) = notifications(event(CREATED), SERVER, "abcdef")
    (pair,) = made["payload"]["nova_object.data"]["keypairs"]
    assert pair["nova_object.data"]["fingerprint"].count(":") == 15
    assert made["payload"]["nova_object.data"]["instance_name"] == f"kn-abcdef-{SERVER.id}"


def test_a_deleted_server_has_its_end_only_once_it_is_gone() -> None:
    gone = replace(SERVER, phase="deleted", terminated_at=1_700_000_009_000_000)
    (end,) = notifications(event(DELETED, phase="deleted", before="active.deleting"), gone, "abcdef")
    assert end["payload"]["nova_object.data"]["deleted_at"] == "2023-11-14T22:13:29Z"
    start = list(notifications(moved("active", "active.deleting", "delete"), gone, "abcdef"))[1]
    assert start["payload"]["nova_object.data"]["deleted_at"] is None


def test_the_same_event_is_the_same_message() -> None:
    happened = moved("active", "active.stopping", "stop")
    first, again = (list(notifications(happened, SERVER, "abcdef")) for _ in range(2))
    assert first == again
    assert len({message["message_id"] for message in first}) == 2
    assert next(iter(notifications(happened, SERVER, "fedcba")))["message_id"] != first[0]["message_id"]
