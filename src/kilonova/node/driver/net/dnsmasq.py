"""dnsmasq(8) of one network: DHCP, router advertisements and name service in the network's namespace.

It runs on its own, so that guests can renew their leases while the node's daemon is down, and is found again by its
command line. Every port is a file in two directories that it reads again on SIGHUP: adding a port restarts nothing.
It keeps no lease file: every lease is a fixed one, and those are in the directories.
"""

from __future__ import annotations

import ipaddress
import os
import re
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net.filter import METADATA
from kilonova.wire.network import NetworkDoc, PortDoc, SubnetDoc, is_option_name, is_option_value

LEASE_SECONDS: Final = 86400
START_DEADLINE: Final = 15.0
STOP_DEADLINE: Final = 5.0
HOSTNAME: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
DOMAIN: Final = re.compile(r"(?!-)[A-Za-z0-9.-]{1,253}")
MAC: Final = re.compile(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
ANYWHERE: Final = "0.0.0.0/0"


def configuration(doc: NetworkDoc, folder: Path, device: str, resolv: Path) -> str:
    """The configuration file of a network. `resolv` is the file with the servers that names are asked of."""
    lines = [
        f"pid-file={folder / 'pid'}",
        f"interface={device}",
        "bind-dynamic",
        "except-interface=lo",
        "no-hosts",
        f"addn-hosts={folder / 'dns'}",
        f"dhcp-hostsfile={folder / 'dhcp'}",
        f"dhcp-optsfile={folder / 'options'}",
        f"resolv-file={resolv}",
        "domain-needed",
        "bogus-priv",
        "leasefile-ro",
        "dhcp-authoritative",
        "dhcp-lease-max=65535",
        "quiet-dhcp",
        "quiet-dhcp6",
        "quiet-ra",
        f"dhcp-option=option:mtu,{doc.mtu}",
    ]
    if DOMAIN.fullmatch(doc.dns_domain):
        lines += [f"domain={doc.dns_domain}", f"local=/{doc.dns_domain}/", "expand-hosts"]
    served = [subnet for subnet in doc.subnets if subnet.enable_dhcp and subnet.dhcp_address]
    for number, subnet in enumerate(served):
        lines += _four(f"s{number}", subnet) if subnet.ip_version == 4 else _six(f"s{number}", subnet)
    if any(subnet.ip_version == 6 and subnet.ipv6_mode for subnet in served):
        gateway = any(subnet.gateway for subnet in served if subnet.ip_version == 6)
        lines += ["enable-ra", f"ra-param={device},mtu:{doc.mtu},60,{1800 if gateway else 0}"]
    return "\n".join(lines) + "\n"


def _four(tag: str, subnet: SubnetDoc) -> Iterator[str]:
    network = ipaddress.IPv4Network(subnet.cidr)
    yield f"dhcp-range=set:{tag},{network.network_address},static,{network.netmask},{LEASE_SECONDS}"
    routes = [(METADATA + "/32", str(subnet.dhcp_address))]
    routes += [(route.destination, route.nexthop) for route in subnet.host_routes]
    # Whoever understands option 121 ignores option 3 (RFC 3442), so the default route stands in both.
    if subnet.gateway and not any(destination == ANYWHERE for destination, _ in routes):
        routes.append((ANYWHERE, subnet.gateway))
    text = ",".join(f"{ipaddress.IPv4Network(to)},{_plain(via, 4)}" for to, via in routes)
    yield f"dhcp-option=tag:{tag},option:classless-static-route,{text}"
    yield f"dhcp-option=tag:{tag},249,{text}"
    # An empty option keeps dnsmasq from naming itself.
    yield f"dhcp-option=tag:{tag},option:router" + (f",{_plain(subnet.gateway, 4)}" if subnet.gateway else "")
    servers = [_plain(server, 4) for server in subnet.dns_servers] or [str(subnet.dhcp_address)]
    yield f"dhcp-option=tag:{tag},option:dns-server,{','.join(servers)}"


def _six(tag: str, subnet: SubnetDoc) -> Iterator[str]:
    network = ipaddress.IPv6Network(subnet.cidr)
    _plain(str(network.network_address), 6)
    mode = {"slaac": "ra-only", "dhcpv6-stateless": "ra-stateless"}.get(subnet.ipv6_mode, "static")
    lease = f",{LEASE_SECONDS}"
    yield f"dhcp-range=set:{tag},{network.network_address},{mode},{network.prefixlen}{lease}"
    servers = [_plain(server, 6) for server in subnet.dns_servers] or [_plain(str(subnet.dhcp_address), 6)]
    yield f"dhcp-option=tag:{tag},option6:dns-server,{','.join(f'[{server}]' for server in servers)}"


def host_entry(doc: PortDoc) -> str:
    """A port's line for DHCP: DHCP gives a NIC its first IPv4 address and all its IPv6 ones. Empty without address."""
    addresses = [fixed.address for fixed in doc.fixed_ips]
    four = [_plain(address, 4) for address in addresses if ":" not in address][:1]
    six = [f"[{_plain(address, 6)}]" for address in addresses if ":" in address]
    if not MAC.fullmatch(doc.mac):
        raise DriverError("driver", "a port's MAC address is not one", detail=repr(doc.mac))
    name = [doc.hostname] if HOSTNAME.fullmatch(doc.hostname) else []
    tag = [f"set:{_tag(doc)}"] if doc.dhcp_options else []
    return ",".join([doc.mac.lower(), *tag, *four, *six, *name]) + "\n" if addresses else ""


def option_entry(doc: PortDoc) -> str:
    """A port's lines with the DHCP options that only it gets. One that dnsmasq does not know it passes over.

    Raises DriverError for what could mean more than one option.
    """
    lines = []
    for option in doc.dhcp_options:
        if not is_option_name(option.name) or not is_option_value(option.value):
            raise DriverError("driver", "a DHCP option of a port is not one", detail=repr(option))
        family = "option6:" if option.ip_version == 6 else "" if option.name.isdigit() else "option:"
        lines.append(f"tag:{_tag(doc)},{family}{option.name},{option.value}\n")
    return "".join(lines)


def _tag(doc: PortDoc) -> str:
    return f"p{doc.port_id}"


def name_entry(doc: PortDoc) -> str:
    """A port's lines for the resolver, as in hosts(5)."""
    if not HOSTNAME.fullmatch(doc.hostname):
        return ""
    addresses = [_plain(fixed.address, 6 if ":" in fixed.address else 4) for fixed in doc.fixed_ips]
    return "".join(f"{address} {doc.hostname}\n" for address in addresses)


def _plain(text: str, version: int) -> str:
    # An IPv6 address may carry a zone (RFC 4007) of any characters, a line end among them.
    address = ipaddress.ip_address(text)
    if address.version != version or "%" in text:
        raise ValueError(f"not a plain IPv{version} address: {text!r}")
    return str(address)


KINDS: Final = ("dhcp", "dns", "options")
"""The directories with a file for each port."""


class Dnsmasq:
    """The files and the process of one network's dnsmasq. All methods block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._conf = folder / "conf"

    def running(self) -> int | None:
        """The process id, if it runs."""
        try:
            pid = int((self.folder / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if f"--conf-file={self._conf}".encode() in command.split(b"\0") else None

    def write(self, text: str) -> bool:
        """Write the configuration; whether it differs from what was there."""
        for folder in (self.folder, *(self.folder / kind for kind in KINDS)):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        if self._conf.exists() and self._conf.read_text() == text:
            return False
        self._conf.write_text(text)
        return True

    def start(self) -> None:
        """Start it in the calling thread's namespace; returns when it serves. Raises DriverError."""
        command = ["dnsmasq", f"--conf-file={self._conf}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=START_DEADLINE, check=False)
        except FileNotFoundError as error:
            raise DriverError("driver", "dnsmasq is not installed: apt-get install dnsmasq-base") from error
        except subprocess.TimeoutExpired as error:
            raise DriverError("driver", "dnsmasq did not start in time", retryable=True) from error
        if done.returncode != 0:
            raise DriverError("driver", "dnsmasq did not start", detail=done.stderr[:2000], retryable=True)

    def stop(self) -> None:
        """End the process, and wait until it is gone."""
        if (pid := self.running()) is None:
            return
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            if not poll.poll(STOP_DEADLINE * 1000):
                raise DriverError("driver", "dnsmasq did not stop in time", retryable=True)
        except ProcessLookupError:
            return
        finally:
            os.close(handle)

    def set_port(self, port_id: str, host: str = "", names: str = "", options: str = "") -> bool:
        """Write a port's entries (empty: none) and have them read, or say that it must be started anew for that.

        dnsmasq 2.90 dies of SIGHUP when it has served a host that has a tag of its own.
        """
        tagged = self._tagged()
        changed = [self._put(kind, port_id, text) for kind, text in zip(KINDS, (host, names, options), strict=True)]
        if not any(changed) or (pid := self.running()) is None:
            return False
        if tagged or self._tagged():
            return True
        os.kill(pid, signal.SIGHUP)
        return False

    def _tagged(self) -> bool:
        folder = self.folder / KINDS[2]
        return folder.is_dir() and any(folder.iterdir())

    def ports(self) -> frozenset[str]:
        """The ports that have an entry."""
        folder = self.folder / "dhcp"
        return frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()

    def remove(self) -> None:
        """End the process and delete the files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _put(self, folder: str, port_id: str, text: str) -> bool:
        path = self.folder / folder / port_id
        before = path.read_text() if path.exists() else ""
        if before == text:
            return False
        if not text:
            path.unlink()
            return True
        # dnsmasq reads every file of the directory, so the new text comes into being outside of it.
        fresh = self.folder / f"{folder}-{port_id}"
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.replace(path)
        return True
