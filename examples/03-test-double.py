#!/usr/bin/env python3
"""kilonova as a test double for programs that use OpenStack: 50 simulated hosts, no root, no hypervisor.

    examples/03-test-double.py

Starts a cloud of its own in a temporary directory on a free port, boots 20 servers, one of which is told to fail, and
leaves nothing behind. Needs kilonova on PATH and openstacksdk.
"""
# ruff: noqa: T201

import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import openstack
from openstack.config import OpenStackConfig


def main() -> None:
    """Start, use, stop."""
    with tempfile.TemporaryDirectory() as place:
        state = Path(place) / "cloud"
        subprocess.run(
            ["kilonova", "up", "--state", state, "--port", "0", "--driver", "fake", "--fake-hosts", "50", "--detach"],
            check=True,
        )
        try:
            boot(state, 20)
        finally:
            subprocess.run(["kilonova", "clean", "--state", state, "--yes"], check=True)


def boot(state: Path, count: int) -> None:
    """Boot `count` servers, the last of which cannot start on any host."""
    config = OpenStackConfig(config_files=[str(state / "clouds.yaml")])
    cloud = openstack.connection.Connection(config=config.get_one("kilonova"))
    image = cloud.image.find_image("kilonova-guest", ignore_missing=False)
    flavor = cloud.compute.find_flavor("m1.small", ignore_missing=False)
    for number in range(count):
        script = {"fake.fail.power_on": "always", "fake.fail.power_on.code": "no"} if number == count - 1 else {}
        cloud.compute.create_server(
            name=f"double-{number}", image_id=image.id, flavor_id=flavor.id, networks="auto", metadata=script
        )
    servers = settle(cloud, count)
    print(dict(Counter(s.status for s in servers)))
    print(f"on {len({s.compute_host for s in servers if s.compute_host})} hosts")
    for server in servers:
        if server.status == "ERROR":
            print(f"{server.name}: {server.fault['message']}")


def settle(cloud: openstack.connection.Connection, count: int) -> list[openstack.compute.v2.server.Server]:
    """All servers, once none of them is being built any more."""
    for _ in range(300):
        servers = list(cloud.compute.servers())
        if len(servers) == count and all(s.status != "BUILD" for s in servers):
            return servers
        time.sleep(0.1)
    raise TimeoutError("the servers were not built in time")


if __name__ == "__main__":
    main()
