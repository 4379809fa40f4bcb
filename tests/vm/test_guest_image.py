"""The guest image on plain QEMU, without the cloud: each test boots it and looks at it from inside and outside."""

import base64
import json
import logging
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pycdlib
import pytest

pytestmark = pytest.mark.vm

T = TypeVar("T")
INSTANCE = "8c5a1bd0-4c1e-4d30-9a57-0f6a3c1f2b11"
NAMESPACE = "kn-aaaa01-image"
READY = re.compile(
    r"KILONOVA READY instance=(?P<instance>\S+) boot=(?P<boot>[0-9a-f-]{36}) hostname=(?P<hostname>\S+)"
    r" source=(?P<source>\S+) addresses=(?P<addresses>\S*) keys=(?P<keys>\d+) uptime=(?P<uptime>[0-9.]+)"
)
# The second line proves order and environment, the third counts how often this ran.
USER_DATA = '#!/bin/sh\necho "marker from user data as $(whoami)"\necho ran >>/root/ran\n'


@pytest.fixture(scope="module")
def image(guest_image: Path) -> Path:
    return guest_image


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tester", "-f", path], check=True)
    return path


class Guest:
    """A QEMU process under emulation with its console, monitor and guest agent on sockets in `place`."""

    def __init__(self, image: Path, place: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        self.place, self.log = place, place / "console.log"
        disk = place / "disk.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", disk, "1G"], check=True)
        devices = ["-drive", f"file={disk},if=virtio,cache=unsafe", "-device", "virtio-serial-pci"]
        for name in ("console", "monitor", "agent"):
            log = f",logfile={self.log}" if name == "console" else ""
            devices += ["-chardev", f"socket,id={name},path={place}/{name},server=on,wait=off{log}"]
        devices += ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
        devices += ["-serial", "chardev:console", "-mon", "chardev=monitor,mode=readline"]
        machine = ["-machine", "pc", "-accel", "tcg,tb-size=64", "-m", "128", "-nodefaults", "-display", "none"]
        self.process = subprocess.Popen([*prefix, "qemu-system-x86_64", *machine, *devices, *arguments])

    def wait_ready(self, count: int = 1) -> dict[str, str]:
        found = wait(lambda: list(READY.finditer(self.text()))[count - 1 :], 120, self.text)
        logging.getLogger(__name__).info("guest: %s", found[0].group())
        return found[0].groupdict()

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def power_off(self) -> float:
        """Press the power button; the seconds until QEMU has ended."""
        start = time.monotonic()
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(self.place / "monitor"))
            peer.sendall(b"system_powerdown\n")
            assert self.process.wait(60) == 0
        return time.monotonic() - start

    def converse(self, *turns: tuple[str, str]) -> None:
        """On the console: give each answer after its prompt."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(30)
            peer.connect(str(self.place / "console"))
            peer.sendall(b"\n")
            for prompt, answer in turns:
                heard = ""
                while prompt not in heard:
                    heard += peer.recv(4096).decode(errors="replace")
                peer.sendall(answer.encode())

    def ask_agent(self, command: str, **arguments: object) -> object:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(30)
            peer.connect(str(self.place / "agent"))
            peer.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            answer = json.loads(peer.makefile().readline())
        assert "return" in answer, answer
        return answer["return"]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def boot(image: Path, tmp_path: Path) -> Iterator[Callable[..., Guest]]:
    guests: list[Guest] = []

    def start(*arguments: str, prefix: tuple[str, ...] = ()) -> Guest:
        guests.append(Guest(image, tmp_path, *arguments, prefix=prefix))
        return guests[-1]

    yield start
    for guest in guests:
        guest.stop()


def wait(condition: Callable[[], T], seconds: float, story: Callable[[], str]) -> T:
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, story()[-3000:]
        time.sleep(0.2)
    return result


def make_drive(path: Path, files: dict[str, str]) -> None:
    disc = pycdlib.PyCdlib()
    disc.new(interchange_level=4, joliet=3, rock_ridge="1.09", vol_ident="config-2")
    for directory in ("/openstack", "/openstack/latest"):
        disc.add_directory(directory, joliet_path=directory, rr_name=directory.rsplit("/", 1)[1])
    for name, text in files.items():
        content, place = path.with_name(name), f"/openstack/latest/{name}"
        content.write_text(text)
        disc.add_file(str(content), place, joliet_path=place, rr_name=name)
    disc.write(str(path))
    disc.close()


def ssh(key: Path, address: str, port: int, command: str, prefix: tuple[str, ...] = ()) -> str:
    options = "BatchMode=yes UserKnownHostsFile=/dev/null StrictHostKeyChecking=no ConnectTimeout=20 LogLevel=ERROR"
    line = ["ssh", "-F", "none", "-i", str(key), "-p", str(port), *(f"-o{option}" for option in options.split())]
    done = subprocess.run([*prefix, *line, f"root@{address}", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def describe(key: Path) -> str:
    public = key.with_suffix(".pub").read_text()
    keys = {'first = "mine"': public, "other": "ssh-rsa AAAAB3NzaC1yc2E= j\u00f6rg\n"}
    return json.dumps({"uuid": INSTANCE, "hostname": "hello.novalocal", "admin_pass": 'se"c\\ret', "public_keys": keys})


def test_config_drive_reboot_and_power_button(boot: Callable[..., Guest], key: Path, tmp_path: Path) -> None:
    make_drive(tmp_path / "drive.iso", {"meta_data.json": describe(key), "user_data": USER_DATA})
    port = free_port()
    network = ["-netdev", f"user,id=n,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", "virtio-net-pci,netdev=n"]
    guest = boot("-drive", f"file={tmp_path}/drive.iso,if=ide,media=cdrom", *network)

    first = guest.wait_ready()
    assert (first["instance"], first["hostname"], first["source"]) == (INSTANCE, "hello", "drive")
    assert (first["addresses"], first["keys"]) == ("10.0.2.15", "2")
    assert "marker from user data as root" in guest.text()

    def run(command: str) -> str:
        return ssh(key, "127.0.0.1", port, command)

    assert run("cat /proc/sys/kernel/random/boot_id; hostname; cat /root/ran").split() == [
        first["boot"],
        "hello",
        "ran",
    ]
    assert "j\u00f6rg" in run("cat /root/.ssh/authorized_keys")
    assert int(run("df -m / | awk 'NR == 2 {print $2}'")) > 950
    host_key = run("sha256sum /etc/dropbear/dropbear_ed25519_host_key")
    tools = "ping wget nc ip arping free nproc sha256sum mount findfs swapon chpasswd getty nslookup"
    assert len(run(f"which {tools}").splitlines()) == len(tools.split())

    guest.ask_agent("guest-ping")
    assert guest.ask_agent("guest-fsfreeze-status") == "thawed"
    assert guest.ask_agent("guest-fsfreeze-freeze") == 1
    assert guest.ask_agent("guest-fsfreeze-thaw") == 1
    guest.converse(
        ("login:", "root\n"), ("Password:", 'se"c\\ret\n'), ("# ", "echo con$((40 + 2))\n"), ("con42", "exit\n")
    )
    guest.ask_agent(
        "guest-set-user-password", username="root", password=base64.b64encode(b"new one").decode(), crypted=False
    )
    guest.converse(
        ("login:", "root\n"), ("Password:", "new one\n"), ("# ", "echo con$((40 + 3))\n"), ("con43", "exit\n")
    )

    run("sync; reboot")
    second = guest.wait_ready(count=2)
    assert second["boot"] != first["boot"]
    assert guest.text().count("marker from user data") == 1
    assert guest.text().count("root disk has grown") == 1
    assert run("cat /root/ran; sha256sum /etc/dropbear/dropbear_ed25519_host_key") == f"ran\n{host_key}"
    assert guest.power_off() < 20


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Path]:
    """A namespace with a tap for one guest and a DHCP server; yields the document root of the metadata service."""
    options = [
        "--no-daemon --conf-file=/dev/null --no-ping --port=0 --bind-interfaces --interface=tap0 --log-facility=-",
        "--dhcp-range=10.77.0.50,10.77.0.50,255.255.255.0 --dhcp-option=option:dns-server,10.77.0.53",
        "--dhcp-option=option:classless-static-route,169.254.169.254/32,10.77.0.2,0.0.0.0/0,10.77.0.1",
        f"--dhcp-option=option:mtu,1400 --dhcp-leasefile={tmp_path}/leases",
    ]
    inside = ["ip", "netns", "exec", NAMESPACE]
    subprocess.run(["ip", "netns", "delete", NAMESPACE], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    root = tmp_path / "metadata"
    root.mkdir()
    started = []
    try:
        for words in (
            "tuntap add tap0 mode tap",
            "link set lo up",
            "link set tap0 up",
            "address add 10.77.0.1/24 dev tap0",
            "address add 10.77.0.2/24 dev tap0",
            "address add 169.254.169.254/32 dev lo",
        ):
            subprocess.run(["ip", "-n", NAMESPACE, *words.split()], check=True)
        started.append(subprocess.Popen([*inside, "dnsmasq", *" ".join(options).split()], stderr=subprocess.DEVNULL))
        yield root
    finally:
        for line in subprocess.run(["ip", "netns", "pids", NAMESPACE], capture_output=True, text=True).stdout.split():
            subprocess.run(["kill", line], check=False)
        for process in started:
            process.wait(10)
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=True)


INSIDE = ("ip", "netns", "exec", NAMESPACE)
NIC = ("-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n")
SERVE = "from http.server import *; import sys; from functools import partial; ThreadingHTTPServer(\
('169.254.169.254', 80), partial(SimpleHTTPRequestHandler, directory=sys.argv[1])).serve_forever()"


def serve(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.Popen([*INSIDE, sys.executable, "-c", SERVE, str(root)], stderr=subprocess.DEVNULL)


def test_openstack_metadata_service_that_comes_late(boot: Callable[..., Guest], key: Path, segment: Path) -> None:
    guest = boot(*NIC, prefix=INSIDE)
    leases = segment.parent / "leases"
    wait(lambda: leases.exists() and "10.77.0.50" in leases.read_text(), 60, guest.text)
    time.sleep(2)  # The guest's first questions meet a closed port.
    latest = "openstack/latest"
    serve(segment, {f"{latest}/meta_data.json": describe(key), f"{latest}/user_data": "#cloud-config\nx: 1\n"})

    ready = guest.wait_ready()
    assert (ready["instance"], ready["hostname"], ready["source"]) == (INSTANCE, "hello", "openstack")
    assert (ready["addresses"], ready["keys"]) == ("10.77.0.50", "2")
    state = ssh(key, "10.77.0.50", 22, "ip route; ip link show eth0; cat /etc/resolv.conf /run/user_data", INSIDE)
    assert re.search(r"^169\.254\.169\.254 via 10\.77\.0\.2 ", state, re.MULTILINE)
    assert re.search(r"^default via 10\.77\.0\.1 ", state, re.MULTILINE)
    assert "mtu 1400" in state
    assert "nameserver 10.77.0.53" in state
    assert "#cloud-config" in state
    assert guest.power_off() < 20


def test_ec2_metadata_when_openstack_is_absent(boot: Callable[..., Guest], key: Path, segment: Path) -> None:
    metadata = {
        "instance-id": "i-0f6a3c1f2b11",
        "hostname": "worker.ec2.internal",
        "public-keys/index.html": "0=mine",
        "public-keys/0/openssh-key": key.with_suffix(".pub").read_text().strip(),
    }
    files = {f"latest/meta-data/{name}": text for name, text in metadata.items()}
    serve(segment, {**files, "latest/user-data": USER_DATA})
    guest = boot(*NIC, prefix=INSIDE)
    ready = guest.wait_ready()
    assert (ready["instance"], ready["hostname"], ready["source"]) == ("i-0f6a3c1f2b11", "worker", "ec2")
    assert ssh(key, "10.77.0.50", 22, "cat /root/ran", INSIDE) == "ran"
    assert guest.power_off() < 20


def test_boots_alone_and_lets_root_in_on_the_console(boot: Callable[..., Guest]) -> None:
    guest = boot()
    ready = guest.wait_ready()
    assert (ready["instance"], ready["source"], ready["addresses"], ready["keys"]) == ("-", "none", "", "0")
    guest.converse(("login:", "root\n"), ("# ", "echo con$((40 + 2))\n"), ("con42", "exit\n"))
    guest.ask_agent("guest-sync", id=7)
