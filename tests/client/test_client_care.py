"""Caring for servers with the real openstackclient: NICs, groups, consoles, passwords; and draining hosts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from client_cloud import Cloud

pytestmark = pytest.mark.client

BOOT = "server create --image kilonova-guest --flavor m1.nano --network private --wait"


def until(look: Callable[[], Any], wanted: Any) -> None:
    end = time.monotonic() + 10
    while (found := look()) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.2)


def test_nics_groups_and_addresses_come_and_go(cloud: Cloud) -> None:
    cloud.tell(f"{BOOT} cared")
    (own,) = cloud.column("port list --server cared", "ID")
    cloud.tell("server add network cared private")
    cloud.tell("port create --network private spare")
    cloud.tell("server add port cared spare")
    assert len(cloud.show("port list --server cared")) == 3
    assert len(cloud.show("server show cared")["addresses"]["private"]) == 3
    cloud.tell("server remove port cared spare")
    assert cloud.show("port show spare")["device_id"] == ""
    extra = next(port for port in cloud.column("port list --server cared", "ID") if port != own)
    cloud.tell(f"server remove port cared {extra}")
    assert f"No Port found for {extra}" in cloud.refuse(f"port show {extra}")
    assert cloud.column("port list --server cared", "ID") == [own]

    cloud.tell("security group create web")
    cloud.tell("server add security group cared web")
    names = lambda: sorted(g["name"] for g in cloud.server("cared")["security_groups"])  # noqa: E731
    until(names, ["default", "web"])
    cloud.tell("server remove security group cared web")
    until(names, ["default"])
    cloud.tell("security group delete web")
    cloud.tell("port delete spare")
    cloud.tell("server delete --wait cared")


def test_consoles_passwords_and_diagnostics(cloud: Cloud) -> None:
    cloud.tell(f"{BOOT} asked")
    shown = cloud.show("console url show --novnc asked")
    assert (shown["protocol"], shown["type"]) == ("vnc", "novnc")
    assert "/console/vnc.html?autoconnect=1&path=console%2Fsocket%3Ftoken%3D" in shown["url"]
    assert cloud.show("console url show --serial asked")["url"].startswith("ws://")
    assert "Unavailable console type spice-html5" in cloud.refuse("console url show --spice asked")
    cloud.tell("server set --password words asked")
    assert "The password of root was changed" in cloud.tell("console log show asked")
    cloud.tell("server dump create asked")
    assert "NMI received" in cloud.tell("console log show asked")
    assert cloud.show("server show --diagnostics asked")["state"] == "running"
    events = cloud.column("server event list asked", "Action")
    assert events == ["trigger_crash_dump", "changePassword", "create"]
    cloud.tell("server delete --wait asked")


def test_hardware_of_flavors(cloud: Cloud) -> None:
    cloud.tell("flavor create --ram 64 --disk 1 --vcpus 1 --property quota:cpu_shares=512 shaped")
    cloud.tell("flavor set --property hw:cpu_policy=dedicated shaped")
    boot = "server create --image kilonova-guest --flavor shaped --network private none"
    assert "hw:cpu_policy=dedicated cannot be had: processors are not pinned" in cloud.refuse(boot)
    refused = cloud.refuse("--os-compute-api-version 2.86 flavor set --property hw:nonsense=1 shaped")
    assert "'hw:nonsense' does not appear to be a valid extra spec" in refused
    cloud.tell("flavor delete shaped")


def test_a_host_is_drained_by_the_command(two_hosts: Cloud) -> None:
    cloud = two_hosts
    for name in ("one", "two", "three"):
        cloud.tell(f"{BOOT} {name}")
    cloud.tell("server stop three")
    cloud.wait("three", "SHUTOFF")
    (first, second) = sorted(cloud.column("hypervisor list", "Hypervisor Hostname"))
    told = cloud.own("host drain", first)
    assert f"{first}: done, 0 of" in told
    assert {cloud.server(name)["OS-EXT-SRV-ATTR:host"] for name in ("one", "two", "three")} == {second}
    assert f"{first}: done, 0 of 0" in cloud.own("host drain", first)
    assert "takes servers again" in cloud.own("host enable", first)
    assert "takes no new servers" in cloud.own("host disable", f"{second} --reason checks")
    assert [s["Status"] for s in cloud.show("compute service list --long") if s["Host"] == second] == ["disabled"]
    assert "There is no host nowhere" in cloud.own("host enable", "nowhere", code=1)
    cloud.own("host enable", second)
