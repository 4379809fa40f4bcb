"""The life of a server on a real hypervisor, seen from inside the guest."""

from __future__ import annotations

import time

import pytest
from cloud import RealCloud, Server, run

pytestmark = pytest.mark.vm

LOG_BYTES = 2 * 1024 * 1024
METADATA = "http://169.254.169.254"


def test_the_guest_knows_who_it_is(cloud: RealCloud, alpha: Server) -> None:
    (ready,) = cloud.boots(alpha)
    addresses = [a["addr"] for nics in alpha["addresses"].values() for a in nics]
    assert (ready["hostname"], ready["source"], ready["keys"]) == ("alpha", "openstack", "1")
    assert ready["addresses"].split(",") == addresses
    assert "user data ran as root" in cloud.console(alpha)
    assert cloud.ssh(alpha, "hostname; id -un; cat /root/ran").split() == ["alpha", "root", "ran"]
    document = cloud.ssh(alpha, f"wget -q -O - {METADATA}/openstack/latest/meta_data.json")
    assert f'"uuid":"{alpha["id"]}"' in document.replace(": ", ":")
    assert '"purpose":"test"' in document.replace(": ", ":")
    assert cloud.ssh(alpha, f"wget -q -O - {METADATA}/latest/meta-data/local-ipv4") == addresses[0]
    megabytes = cloud.ssh(alpha, "df -m / | awk 'NR == 2 {print $2}'; awk '/MemTotal/ {print $2}' /proc/meminfo")
    disk, memory = map(int, megabytes.split())
    assert 950 < disk <= 1024
    assert 90 * 1024 < memory <= 128 * 1024


def test_the_same_from_a_config_drive(cloud: RealCloud, beta: Server) -> None:
    (ready,) = cloud.boots(beta)
    assert (ready["hostname"], ready["source"], ready["keys"]) == ("beta", "drive", "1")
    assert cloud.ssh(beta, "hostname; cat /root/ran").split() == ["beta", "ran"]


def test_stop_is_clean_and_start_boots_the_same_disk(cloud: RealCloud, alpha: Server) -> None:
    before, process = cloud.boots(alpha)[-1], cloud.qemu(alpha)
    cloud.ssh(alpha, "echo kept >/root/marker")
    began = time.monotonic()
    cloud.api.act(alpha["id"], "os-stop")
    stopped = cloud.api.wait_status(alpha["id"], "SHUTOFF")
    assert time.monotonic() - began < 40
    assert stopped["OS-EXT-STS:power_state"] == 4
    assert "reboot: Power down" in cloud.console(alpha)
    cloud.api.act(alpha["id"], "os-start")
    again = cloud.wait_ready(alpha, before)
    assert again["boot"] != before["boot"]
    assert cloud.ssh(alpha, "cat /root/marker /root/ran; cat /proc/sys/kernel/random/boot_id").split() == [
        "kept",
        "ran",
        again["boot"],
    ]
    assert cloud.qemu(alpha) != process


def test_a_soft_reboot_keeps_the_process_and_a_hard_one_does_not(cloud: RealCloud, alpha: Server) -> None:
    before, process = cloud.boots(alpha)[-1], cloud.qemu(alpha)
    cloud.ssh(alpha, "echo soft >/root/marker")
    cloud.api.act(alpha["id"], "reboot", {"type": "SOFT"})
    soft = cloud.wait_ready(alpha, before)
    assert soft["boot"] != before["boot"]
    assert cloud.qemu(alpha) == process
    assert cloud.ssh(alpha, "cat /root/marker; echo hard >/root/marker; sync") == "soft"
    cloud.api.act(alpha["id"], "reboot", {"type": "HARD"})
    hard = cloud.wait_ready(alpha, soft)
    assert hard["boot"] not in (soft["boot"], before["boot"])
    assert cloud.qemu(alpha) != process
    assert cloud.ssh(alpha, "cat /root/marker") == "hard"


def test_a_console_that_never_stops_is_bounded(cloud: RealCloud, beta: Server) -> None:
    lines = "i=0; while [ $i -lt 24 ]; do head -c 100000 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done"
    cloud.ssh(beta, f"({lines}) >/dev/ttyS0")
    cloud.ssh(beta, "echo the last words >/dev/ttyS0")
    files = sorted((cloud.state / "node" / "console").glob(f"{beta['id']}.log*"))
    assert len(files) >= 2
    assert all(file.stat().st_size <= LOG_BYTES for file in files)
    text = cloud.console(beta)
    assert len(text) <= 100 * 1024
    assert text.rstrip().endswith("the last words")


def test_delete_leaves_nothing(cloud: RealCloud, alpha: Server, beta: Server) -> None:
    ports = cloud.api.get("/network/v2.0/ports", device_id=beta["id"])["ports"]
    beta["ports"] = [port["id"] for port in ports]
    kinds = {trace.split()[0].rpartition("/")[2].partition("-")[0] for trace in cloud.traces(beta)}
    assert {"kn", "process", "source", "ingress"} <= kinds, cloud.traces(beta)
    cloud.delete(beta)
    assert cloud.traces(beta) == []
    assert run("virsh", "-c", "qemu:///system", "domid", cloud.domain(beta), check=False) == ""
    assert cloud.ssh(alpha, "hostname") == "alpha"
    assert "All is well" in (told := cloud.daemon.doctor()), told
