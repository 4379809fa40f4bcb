"""A host of its own on this machine: network, mount and host name of its own, with a libvirtd that others reach."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from cloud import processes, run

SETUP = """
set -e
hostname {name}
mkdir -p {place}/varlib {place}/etc {place}/cache {place}/log
mount -t tmpfs tmpfs /run
mkdir -p /run/lock
cp -a /etc/libvirt/. {place}/etc/
rm -rf {place}/etc/qemu/*.xml {place}/etc/qemu/autostart
mount --bind {place}/etc /etc/libvirt
mkdir -p /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
mount --bind {place}/varlib /var/lib/libvirt
mount --bind {place}/cache /var/cache/libvirt
mount --bind {place}/log /var/log/libvirt
cat >> /etc/libvirt/libvirtd.conf <<C
listen_tls=0
listen_tcp=1
auth_tcp="none"
listen_addr="{address}"
host_uuid="00000000-0000-4000-8000-00000000000{index}"
C
mkdir -p /var/lib/libvirt/qemu /var/lib/libvirt/images /var/log/libvirt/qemu
chown -R libvirt-qemu:libvirt-qemu /var/lib/libvirt/qemu
virtlogd -d
exec libvirtd -l
"""


class Bridge:
    """What joins the hosts, and lets this process reach them."""

    name = "kntest0"

    def __enter__(self) -> Bridge:
        run("ip", "link", "add", self.name, "type", "bridge")
        run("ip", "addr", "add", "10.66.7.254/24", "dev", self.name)
        run("ip", "link", "set", self.name, "up")
        return self

    def __exit__(self, *_: object) -> None:
        run("ip", "link", "delete", self.name)


class LibvirtHost:
    """Host number `index` (1 to 9), with what is its own under `place`."""

    def __init__(self, bridge: Bridge, index: int, place: Path) -> None:
        self.name, self.place = f"kntest{index}", place
        self.address = f"10.66.7.{index}"
        self.uri = f"qemu+tcp://{self.address}/system"
        self._bridge, self._index = bridge, index

    def __enter__(self) -> LibvirtHost:
        veth = f"{self.name}v"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", veth, "master", self._bridge.name, "up")
        run("ip", "-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "-n", self.name, "link", "set", "eth0", "up")
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        self.place.mkdir(parents=True)
        script = SETUP.format(name=self.name, place=self.place, address=self.address, index=self._index)
        with (self.place / "libvirtd.log").open("wb") as log:
            self._daemon = subprocess.Popen(
                ["ip", "netns", "exec", self.name, "unshare", "-m", "-u", "bash", "-c", script], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while subprocess.run(["virsh", "-c", self.uri, "version"], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, (self.place / "libvirtd.log").read_text()
            time.sleep(0.2)
        return self

    def domains(self) -> list[str]:
        return run("virsh", "-c", self.uri, "list", "--all", "--name").split()

    def kill_guest(self, server_id: str) -> bool:
        """As if the machine had killed the process; False when there is none."""
        found = self._guest(server_id)
        if found is not None:
            os.kill(found, signal.SIGKILL)
        return found is not None

    def has_guest(self, server_id: str) -> bool:
        return self._guest(server_id) is not None

    def _guest(self, server_id: str) -> int | None:
        for pid in self._inside():
            with suppress(FileNotFoundError, ProcessLookupError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"qemu-system" in line and server_id.encode() in line:
                    return pid
        return None

    def _inside(self) -> list[int]:
        return [int(pid) for pid in run("ip", "netns", "pids", self.name).split()]

    def __exit__(self, *_: object) -> None:
        for _ in range(100):
            pids = self._inside()
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not pids:
                break
            time.sleep(0.1)
        self._daemon.wait(10)
        run("ip", "link", "delete", f"{self.name}v")
        run("ip", "netns", "delete", self.name)
        assert [line for line in processes(str(self.place)) if "qemu" in line] == []
