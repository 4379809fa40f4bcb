"""SIGKILL of the daemon at random moments while real guests are made and deleted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from cloud import RealCloud, Server

from daemon import SETTLED, Caller, wait

pytestmark = pytest.mark.vm

ROUNDS = 5
SECONDS = 60.0


def wait_settled(api: Caller) -> list[Server]:
    """The servers, once nothing is under way."""

    def look() -> bool:
        return bool(api.get("/kilonova/v1/status")["operations"] == 0)

    wait(look, SECONDS, lambda: f"something sticks: {api.servers()}")
    servers = api.servers()
    for server in servers:
        assert server["status"] in SETTLED, server
        assert server["status"] != "ERROR" or server["fault"]["message"], server
    return servers


def test_creates_and_deletes_survive_sudden_ends(cloud: RealCloud, alpha: Server, tell: Callable[[str], None]) -> None:
    seed = random.randrange(2**32)
    tell(f"sudden death of a cloud with real guests: seed {seed}")
    chance = random.Random(seed)
    present = {s["id"] for s in cloud.api.servers()}
    boot, process = cloud.ssh(alpha, "cat /proc/sys/kernel/random/boot_id"), cloud.qemu(alpha)
    outcomes = []
    for turn in range(ROUNDS):
        server = cloud.create(f"victim-{turn}")
        time.sleep(chance.uniform(0.0, 2.5))
        api = cloud.restart(sudden=True)
        (found,) = [s for s in wait_settled(api) if s["id"] not in present]
        outcomes.append(found["status"])
        api.delete(f"/compute/v2.1/servers/{server['id']}")
        time.sleep(chance.uniform(0.0, 2.0))
        api = cloud.restart(sudden=True)
        assert {s["id"] for s in wait_settled(api)} == present
        assert cloud.traces(server) == []
        assert cloud.qemu(alpha) == process
    assert cloud.ssh(alpha, "cat /proc/sys/kernel/random/boot_id") == boot
    document = cloud.ssh(alpha, "wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json")
    assert alpha["id"] in document
    assert "All is well" in (told := cloud.daemon.doctor()), told
    tell(f"{2 * ROUNDS} sudden ends, creates became {outcomes}")
