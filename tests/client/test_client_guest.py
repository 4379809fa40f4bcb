"""A real guest asked for by the real client: what it was given arrived inside, and its power is real."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client_cloud import Cloud

pytestmark = [pytest.mark.client, pytest.mark.vm]

READY = re.compile(r"KILONOVA READY instance=(\S+) boot=(\S+) hostname=(\S+) source=(\S+) .*")
USER_DATA = "#!/bin/sh\necho marker of $(whoami)\necho ran >>/root/ran\n"
BOOT_SECONDS = 150.0


class Guest:
    """One server, asked only through the client and `kilonova ssh`."""

    def __init__(self, cloud: Cloud, key: Path, tell: Callable[[str], None]) -> None:
        self.cloud = cloud
        self._key = key
        self._tell = tell
        self._told = 0

    def boots(self, count: int) -> list[tuple[str, ...]]:
        """Until it has said READY `count` times: what it said."""
        end = time.monotonic() + BOOT_SECONDS
        while True:
            console = self.cloud.tell("console log show guest")
            found = list(READY.finditer(console))
            if len(found) >= count:
                for boot in found[self._told :]:
                    self._tell(f"guest: domain {boot.group(1)} {boot.group()}")
                self._told = len(found)
                return [m.groups() for m in found]
            assert time.monotonic() < end, console[-3000:]
            time.sleep(1)

    def run(self, command: str) -> str:
        return self.cloud.own("ssh", f"-i {self._key} guest -- '{command}'").strip()


@pytest.fixture(scope="module")
def guest(real_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory, tell: Callable[[str], None]) -> Iterator[Guest]:
    place = tmp_path_factory.mktemp("guest")
    key, data = place / "key", place / "data"
    data.write_text(USER_DATA)
    real_cloud.tell(f"keypair create --private-key {key} guest-key")
    key.chmod(0o600)
    options = f"--image kilonova-guest --flavor m1.nano --network private --key-name guest-key --user-data {data}"
    real_cloud.tell(f"server create {options} --property role=test --config-drive true --wait guest")
    yield Guest(real_cloud, key, tell)
    real_cloud.tell("server delete --wait guest")


def test_the_console_tells_that_the_guest_is_ready_and_ran_its_user_data(guest: Guest) -> None:
    (ready,) = guest.boots(1)
    assert (ready[0], ready[2]) == (guest.cloud.server("guest")["id"], "guest")
    assert "marker of root" in guest.cloud.tell("console log show guest")
    last = guest.cloud.tell("console log show --lines 3 guest").rstrip()
    assert 1 <= len([line for line in last.split("\n") if line]) <= 3, "a terminal's bare carriage returns are no lines"
    assert guest.cloud.tell("console log show guest").rstrip().endswith(last)


def test_the_key_that_the_client_made_opens_the_guest(guest: Guest) -> None:
    (ready,) = guest.boots(1)
    assert guest.run("cat /proc/sys/kernel/random/boot_id; cat /root/ran") == f"{ready[1]}\nran"
    (address,) = guest.cloud.server("guest")["addresses"]["private"]
    assert f"inet {address['addr']}/24" in guest.run("ip -4 addr show dev eth0")
    assert address["OS-EXT-IPS-MAC:mac_addr"] in guest.run("ip link show dev eth0")


def test_the_config_drive_holds_what_was_asked_for(guest: Guest) -> None:
    guest.run("mkdir -p /mnt; mount -o ro $(findfs LABEL=config-2) /mnt")
    meta = json.loads(guest.run("cat /mnt/openstack/latest/meta_data.json"))
    assert (meta["uuid"], meta["name"], meta["meta"]) == (guest.cloud.server("guest")["id"], "guest", {"role": "test"})
    assert list(meta["public_keys"]) == ["guest-key"]
    assert guest.run("cat /mnt/openstack/latest/user_data; umount /mnt") == USER_DATA.strip()


def test_stop_start_and_reboot_are_real(guest: Guest) -> None:
    cloud = guest.cloud
    first = guest.boots(1)[0][1]
    cloud.tell("server stop guest")
    assert cloud.wait("guest", "SHUTOFF")["OS-EXT-STS:power_state"] == 4
    cloud.tell("server start guest")
    second = guest.boots(2)[1][1]
    cloud.wait("guest", "ACTIVE")
    assert "Complete" in cloud.tell("server reboot --soft --wait guest")
    third = guest.boots(3)[2][1]
    assert len({first, second, third}) == 3
    assert guest.run("cat /root/ran; cat /proc/sys/kernel/random/boot_id") == f"ran\n{third}"
    assert "Complete" in cloud.tell("server reboot --hard --wait guest")
    cloud.check()
