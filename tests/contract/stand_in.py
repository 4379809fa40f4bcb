"""Stand-ins for guests and for the world outside: namespaces with a veth where a guest would have its tap."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from kilonova.node.driver.net.namespace import run_inside
from kilonova.node.driver.net.port import PortDevice
from kilonova.wire.network import PortDoc

T = TypeVar("T")
WAIT = 1.0
ACK = b"\5"
NEXT_SERVER = 255
"""Where the answers of `ask_dhcp` hold the address of the server to boot from: no option has this number."""
OTHER = re.compile(r"k[nbtdr][-_]?(?!cccc0[12])[0-9a-f]{6}|^vnet")


def run(*command: str, check: bool = True) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=30).stdout


class StandIn:
    """A namespace with one NIC."""

    def __init__(self, name: str) -> None:
        self.name = name
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def ip(self, *words: str, check: bool = True) -> str:
        return run("ip", "-n", self.name, *words, check=check)

    def inside(self, work: Callable[[], T]) -> T:
        return run_inside(self.name, work)

    def plug(self, device: PortDevice, doc: PortDoc, gateway: str = "", prefix: int = 24) -> StandIn:
        run("ip", "link", "add", device.device, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", device.device, "master", device.bridge, "up")
        self.ip("link", "set", "eth0", "address", doc.mac)
        run("ip", "netns", "exec", self.name, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
        self.ip("link", "set", "eth0", "up")
        for fixed in doc.fixed_ips:
            bits = 64 if ":" in fixed.address else prefix
            self.ip("addr", "add", f"{fixed.address}/{bits}", "dev", "eth0", *(["nodad"] if bits == 64 else []))
        if gateway:
            self.ip("route", "add", "default", "via", gateway)
        return self

    def listen(self, port: int, address: str = "::", kind: int = socket.SOCK_STREAM) -> socket.socket:
        def work() -> socket.socket:
            server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, port))
            if kind == socket.SOCK_STREAM:
                server.listen()
            server.settimeout(WAIT)
            return server

        return self.inside(work)

    def connect(self, address: str, port: int) -> socket.socket | None:
        def work() -> socket.socket | None:
            try:
                return socket.create_connection((address, port), timeout=WAIT)
            except OSError:
                return None

        return self.inside(work)

    def reaches(self, address: str, port: int) -> bool:
        found = self.connect(address, port)
        if found is not None:
            found.close()
        return found is not None

    def send(self, address: str, port: int, source_port: int = 0) -> None:
        def work() -> None:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.bind(("::" if ":" in address else "0.0.0.0", source_port))
                sender.sendto(b"hello", (address, port))

        self.inside(work)

    def pings(self, address: str) -> bool:
        """Whether an echo request is answered (RFC 792, RFC 4443)."""
        six, word = ":" in address, os.urandom(8)
        ask, answer, family = (128, 129, socket.AF_INET6) if six else (8, 0, socket.AF_INET)

        def work() -> bool:
            with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP) as s:
                s.settimeout(WAIT)
                head = struct.pack("!BB", ask, 0)
                body = os.urandom(2) + b"\0\1" + word
                s.sendto(head + checksum(head + b"\0\0" + body) + body, (address, 0))
                while word not in (data := s.recv(2048)) or data[0 if six else 20] != answer:
                    pass
                return True

        try:
            return self.inside(work)
        except OSError:
            return False

    def raw(self, frame: bytes) -> None:
        def work() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
                sender.bind(("eth0", 0))
                sender.send(frame)

        self.inside(work)

    @contextlib.contextmanager
    def watching(self) -> Iterator[Callable[[bytes], bool]]:
        """Collect frames; the value asks whether one that holds these bytes came in."""

        def work() -> socket.socket:
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            tap.bind(("eth0", 3))
            tap.settimeout(0.5)
            return tap

        tap = self.inside(work)
        seen: list[bytes] = []

        def saw(needle: bytes) -> bool:
            with contextlib.suppress(TimeoutError):
                while True:
                    frame, sender = tap.recvfrom(4096)
                    if sender[2] != socket.PACKET_OUTGOING:
                        seen.append(frame)
            return any(needle in frame for frame in seen)

        with tap:
            yield saw

    def ask_dhcp(self, mac: str) -> dict[int, bytes]:
        """DISCOVER and REQUEST (RFC 2131); the options of the ACK, with 0 for the address. Empty without an answer."""

        def work() -> dict[int, bytes]:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
                client.bind(("0.0.0.0", 68))
                client.settimeout(2)
                # Clients ask again (RFC 2131 §4.1), and so does this one: once.
                for _ in range(2):
                    with contextlib.suppress(TimeoutError):
                        client.sendto(_dhcp(mac, b"\x35\x01\x01"), ("255.255.255.255", 67))
                        offer = _options(client.recv(2048))
                        request = b"\x35\x01\x03\x32\x04" + offer[0] + b"\x36\x04" + offer[54]
                        client.sendto(_dhcp(mac, request), ("255.255.255.255", 67))
                        if (answer := _options(client.recv(2048)))[53] == ACK:
                            return answer
                return {}

        return self.inside(work)

    def ask_dhcp6(self, mac: str, *, stateful: bool = True) -> dict[int, bytes]:
        """SOLICIT and REQUEST, or INFORMATION-REQUEST (RFC 8415); the options of the last answer. Empty without one."""
        duid = b"\0\3\0\1" + bytes.fromhex(mac.replace(":", ""))
        wanted = _option6(1, duid) + _option6(8, b"\0\0") + _option6(6, struct.pack("!4H", 23, 24, 59, 32))
        lease = _option6(3, b"\0\0\0\1" + bytes(8)) if stateful else b""

        def work() -> dict[int, bytes]:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
                client.bind(("::", 546))
                client.settimeout(4)

                def ask(kind: int, options: bytes) -> dict[int, bytes]:
                    servers = ("ff02::1:2", 547, 0, socket.if_nametoindex("eth0"))
                    self._wait_link_local()
                    client.sendto(bytes([kind]) + b"abc" + options, servers)
                    return _options6(client.recv(2048)[4:])

                try:
                    if not stateful:
                        return ask(11, wanted)
                    offer = ask(1, wanted + lease)
                    return ask(3, wanted + _option6(2, offer[2]) + _option6(3, offer[3]))
                except (TimeoutError, KeyError):
                    return {}

        return self.inside(work)

    def _wait_link_local(self) -> None:
        deadline = time.monotonic() + 4
        while "fe80::" not in self.ip("-6", "addr", "show", "dev", "eth0") and time.monotonic() < deadline:
            time.sleep(0.05)

    def remove(self) -> None:
        run("ip", "netns", "del", self.name, check=False)


def _dhcp(mac: str, options: bytes) -> bytes:
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x1234, 0, 0x8000) + bytes(16) + bytes.fromhex(mac.replace(":", ""))
    wanted = b"\x37\x0a" + bytes([1, 3, 6, 12, 15, 26, 66, 67, 121, 150])
    return head.ljust(236, b"\0") + b"\x63\x82\x53\x63" + options + wanted + b"\xff"


def _options(packet: bytes) -> dict[int, bytes]:
    found = {0: packet[16:20], NEXT_SERVER: packet[20:24]}
    rest = packet[240:]
    while rest and rest[0] != 255:
        if rest[0]:
            found[rest[0]] = rest[2 : 2 + rest[1]]
        rest = rest[1:] if rest[0] == 0 else rest[2 + rest[1] :]
    return found


def _option6(number: int, value: bytes) -> bytes:
    return struct.pack("!HH", number, len(value)) + value


def _options6(rest: bytes) -> dict[int, bytes]:
    found = {}
    while rest:
        number, length = struct.unpack("!HH", rest[:4])
        found[number], rest = rest[4 : 4 + length], rest[4 + length :]
    return found


def prepare(end: socket.socket) -> socket.socket:
    """What could not be sent is not to be kept trying after the end: it would hold the namespace."""
    end.settimeout(WAIT)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return end


def ethernet(source: str, kind: int, body: bytes, target: str = "ff:ff:ff:ff:ff:ff") -> bytes:
    return bytes.fromhex((target + source).replace(":", "")) + kind.to_bytes(2, "big") + body


def arp_request(mac: str, sender: str, target: str, frame_mac: str = "") -> bytes:
    body = bytes.fromhex("0001080006040001" + mac.replace(":", "")) + ipaddress.ip_address(sender).packed
    return ethernet(frame_mac or mac, 0x0806, body + bytes(6) + ipaddress.ip_address(target).packed)


def ipv4_udp(source: str, target: str, port: int, data: bytes, source_port: int = 999) -> bytes:
    udp = struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + addresses
    return head[:10] + checksum(head) + head[12:] + udp


def checksum(data: bytes) -> bytes:
    """RFC 1071, of an even number of octets."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return (~(total + (total >> 16)) & 0xFFFF).to_bytes(2, "big")


def snapshot() -> dict[str, Any]:
    """What a cloud leaves as it found it: interfaces, namespaces, tables, processes. Other clouds are passed over."""
    links = (entry["ifname"] for entry in json.loads(run("ip", "-j", "link")))
    found = {"links": links, "netns": run("ip", "netns").splitlines(), "nft": run("nft", "list", "tables").splitlines()}
    ours = {what: sorted(name for name in names if not OTHER.search(name)) for what, names in found.items()}
    return ours | {"dnsmasq": [pid for pid in os.listdir("/proc") if pid.isdigit() and _serves_tests(pid)]}


def _serves_tests(pid: str) -> bool:
    try:
        return re.search(r"dnsmasq\0--conf-file=.*/cccc0[12]/", Path("/proc", pid, "cmdline").read_text()) is not None
    except OSError:
        return False
