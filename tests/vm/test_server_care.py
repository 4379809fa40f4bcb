"""What is done to real guests that go on running: NICs, interrupts, passwords, diagnostics; seen from inside."""

from __future__ import annotations

import pytest
from cloud import RealCloud, run, within

pytestmark = pytest.mark.vm

LINKS = "ls -d /sys/class/net/e* | wc -l; cat /sys/class/net/e*/address"


def test_a_guest_goes_on_while_it_is_cared_for(cloud: RealCloud) -> None:
    server = cloud.boot("cared")
    boot = cloud.boots(server)[-1]["boot"]
    path = f"/compute/v2.1/servers/{server['id']}"

    made = cloud.api.post(f"{path}/os-interface", {"interfaceAttachment": {}})["interfaceAttachment"]
    assert made["port_state"] == "ACTIVE"
    within(20, lambda: made["mac_addr"] in cloud.ssh(server, LINKS), lambda: cloud.console(server)[-2000:])
    told = cloud.api.get(f"{path}/diagnostics")
    assert (told["num_nics"], told["state"], told["driver"], told["num_cpus"]) == (2, "running", "libvirt", 1)
    assert told["uptime"] > 0
    assert told["cpu_details"][0]["time"] > 1e9
    assert told["disk_details"][0]["read_bytes"] > 1 << 20
    assert {one["mac_address"] for one in told["nic_details"]} >= {made["mac_addr"]}
    tap = f"kt{cloud.daemon.cloud_id}{made['port_id'][:7]}"
    assert tap in run("ip", "link")
    assert cloud.ssh(server, "cat /proc/sys/kernel/random/boot_id") == boot
    cloud.api.delete(f"{path}/os-interface/{made['port_id']}")
    cloud.api.wait_status(server["id"], "ACTIVE")
    assert made["mac_addr"] not in cloud.ssh(server, LINKS)
    within(10, lambda: tap not in run("ip", "link"), lambda: run("ip", "link"))

    kept = "grep ^root: /etc/shadow | cut -d: -f2"
    before = cloud.ssh(server, kept)
    cloud.api.act(server["id"], "changePassword", {"adminPass": "new words"})
    assert cloud.ssh(server, kept) not in (before, "", "new words")
    cloud.api.act(server["id"], "trigger_crash_dump")
    within(20, lambda: "NMI" in cloud.console(server), lambda: cloud.console(server)[-2000:])
    cloud.delete(server)
    assert cloud.traces(server) == []
