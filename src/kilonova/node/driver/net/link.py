"""Bridges, veth pairs, addresses and routes by netlink (rtnetlink(7)). All functions block and act in the calling
thread's namespace; each makes the world equal to its arguments and leaves alone what already is.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from kilonova.node.driver.failure import DriverError

SYSTEM: Final = Path("/sys/class/net")
"""What is mounted there shows the host's own namespace, whichever the calling thread is in."""
NO_DAD: Final = 0x02
"""IFA_F_NODAD: the address is the control plane's choice, so nobody else has it, and it works at once."""
ADDR_GEN_NONE: Final = 1
MAIN_TABLE: Final = 254
METADATA: Final = "169.254.169.254/32"
METADATA_PRIORITY: Final = 100
METADATA_TABLES: Final = 1000
PROTOCOL: Final = 186
"""Marks routes as ours (an unassigned number in rt_protos), beside the kernel's."""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface: `alias` is free text that the kernel keeps with it; ours is the id it belongs to."""

    index: int
    name: str
    alias: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Route:
    """A route out of a device; no gateway means that the destination is on the link."""

    destination: str
    gateway: str | None = None


@contextmanager
def netlink() -> Iterator[Any]:
    """A netlink socket in this thread's namespace. Kernel refusals come out as DriverError."""
    try:
        with IPRoute() as route:
            yield route
    except NetlinkError as error:
        raise DriverError("driver", "the kernel refused a change of the network", detail=str(error)) from error


def list_links(prefix: str = "") -> list[Link]:
    """The host's interfaces whose names begin so. Read from /sys: netlink takes a millisecond for each."""
    names = sorted(entry.name for entry in os.scandir(SYSTEM) if entry.name.startswith(prefix))
    return [link for name in names if (link := find_link(name))]


def find_link(name: str) -> Link | None:
    """One of the host's interfaces by name."""
    try:
        index, alias, mtu = (SYSTEM.joinpath(name, part).read_text().strip() for part in ("ifindex", "ifalias", "mtu"))
    except OSError:
        return None
    return Link(int(index), name, alias, int(mtu))


def find_named(candidates: Iterable[str], alias: str) -> str | None:
    """The host's interface of one of these names that has this alias."""
    return next((name for name in candidates if (link := find_link(name)) and link.alias == alias), None)


def pick_name(candidates: Sequence[str], alias: str) -> str:
    """The name of the host's interface with this alias, or the first free one. Raises DriverError without any."""
    free = (name for name in candidates if not SYSTEM.joinpath(name).exists())
    name = find_named(candidates, alias) or next(free, None)
    if name is None:
        raise DriverError("driver", f"no interface name is left for {alias}")
    return name


def write_setting(path: str, value: str) -> None:
    """Write below /proc/sys/net, unless it already says so. A setting that this kernel lacks is passed over."""
    file = Path("/proc/sys/net") / path
    if file.exists() and file.read_text().strip() != value:
        file.write_text(value)


def has_ipv6() -> bool:
    """Whether this kernel speaks it at all."""
    return Path("/proc/sys/net/ipv6").exists()


def ensure_bridge(name: str, alias: str, mac: str, mtu: int, addresses: Iterable[str], *, up: bool = True) -> int:
    """A bridge that forwards at once (nothing, when it is not `up`), asks netfilter about each packet, and has exactly
    these addresses. Its index."""
    with netlink() as route:
        index = _find(name)
        if index is None:
            route.link("add", ifname=name, kind="bridge", address=mac, br_stp_state=0, br_forward_delay=0)
            index = _get(name)
        route.link("set", index=index, IFLA_IFALIAS=alias)
        wanted = list(addresses)
        # Without an address of its own the host is no neighbour of the guests, in IPv6 neither.
        write_setting(f"ipv6/conf/{name}/disable_ipv6", "0" if any(":" in address for address in wanted) else "1")
        write_setting(f"ipv6/conf/{name}/accept_ra", "0")
        route.link("set", index=index, kind="bridge", br_nf_call_iptables=1, br_nf_call_ip6tables=1)
        _set_addresses(route, index, wanted)
        route.link("set", index=index, mtu=mtu, state="up" if up else "down")
        return index


def ensure_leg(outer: str, bridge: str, alias: str, namespace: str, inner: str, mac: str, mtu: int) -> None:
    """A veth pair from a bridge into a namespace; an end that has lost the other, or its bridge, is made anew."""
    with netlink() as route:
        index = _find(outer)
        if index is None:
            peer = {"ifname": inner, "net_ns_fd": namespace, "address": mac}
            route.link("add", ifname=outer, kind="veth", peer=peer)
            index = _find(outer)
        route.link("set", index=index, IFLA_IFALIAS=alias)
        write_setting(f"ipv6/conf/{outer}/disable_ipv6", "1")
        route.link("set", index=index, mtu=mtu, master=_get(bridge), state="up")


def ensure_inside(device: str, mtu: int, addresses: Iterable[str], routes: Iterable[Route], *, up: bool = True) -> None:
    """Exactly these addresses and routes on a device of this namespace."""
    write_setting(f"ipv6/conf/{device}/accept_ra", "0")
    write_setting(f"ipv6/conf/{device}/accept_dad", "0")
    with netlink() as route:
        index = _get(device)
        route.link("set", index=_get("lo"), state="up")
        route.link("set", index=index, mtu=mtu, state="up" if up else "down")
        _set_addresses(route, index, list(addresses))
        if up:
            _set_routes(route, index, list(routes))


def remove_link(name: str) -> None:
    """Take an interface away (of a veth pair, both ends). An absent one is no error."""
    with netlink() as route:
        index = _find(name)
        if index is not None:
            try:
                route.link("del", index=index)
            except NetlinkError as error:
                if error.code != errno.ENODEV:
                    raise


def _find(name: str) -> int | None:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def _get(name: str) -> int:
    index = _find(name)
    if index is None:
        raise DriverError("driver", "an interface vanished", detail=name, retryable=True)
    return index


def _set_addresses(route: Any, index: int, wanted: list[str]) -> None:
    interfaces = {str(ipaddress.ip_interface(address)): ipaddress.ip_interface(address) for address in wanted}
    present = set()
    for message in route.get_addr(index=index):
        address = ipaddress.ip_interface(f"{message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}")
        present.add(str(address))
        if address.is_link_local and address.version == 6:
            continue
        if str(address) not in interfaces:
            route.addr("del", index=index, address=str(address.ip), prefixlen=message["prefixlen"])
    for text in [text for text in interfaces if text not in present]:
        address = interfaces[text]
        flags = {"flags": NO_DAD} if address.version == 6 else {}
        route.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen, **flags)


def _set_routes(route: Any, index: int, wanted: list[Route]) -> None:
    for message in route.get_routes(oif=index, proto=PROTOCOL, table=MAIN_TABLE):
        if _route(message) not in wanted:
            gateway = message.get_attr("RTA_GATEWAY")
            # The kernel finds an IPv4 route by its scope too.
            scope = {"scope": message["scope"]} if message["family"] == socket.AF_INET else {}
            route.route("del", dst=_destination(message), oif=index, proto=PROTOCOL, gateway=gateway, **scope)
    for entry in wanted:
        fields: dict[str, Any] = {"dst": entry.destination, "oif": index, "proto": PROTOCOL, "table": MAIN_TABLE}
        if entry.gateway is not None:
            # The next hop is on this link, whatever the prefix of our own address there.
            fields |= {"gateway": entry.gateway, "flags": 4}
        elif ":" not in entry.destination:
            fields["scope"] = 253
        if ":" in entry.destination:
            fields["family"] = 10
        route.route("replace", **fields)


def _destination(message: Any) -> str:
    default = "::" if message["family"] == 10 else "0.0.0.0"  # noqa: S104
    return f"{message.get_attr('RTA_DST') or default}/{message['dst_len']}"


def _route(message: Any) -> Route:
    return Route(_destination(message), message.get_attr("RTA_GATEWAY"))


def list_addresses() -> list[tuple[str, ipaddress.IPv4Interface | ipaddress.IPv6Interface]]:
    """All addresses of this namespace with their interfaces, link-local ones left out."""
    with netlink() as route:
        names = {message["index"]: message.get_attr("IFLA_IFNAME") for message in route.get_links()}
        found = [
            (names.get(m["index"], ""), ipaddress.ip_interface(f"{m.get_attr('IFA_ADDRESS')}/{m['prefixlen']}"))
            for m in route.get_addr()
        ]
    return [(name, address) for name, address in found if not address.is_link_local]


def set_metadata_rules(devices: list[str]) -> None:
    """Send what comes in by one of these devices for the metadata address out by the same device: each network has
    that address in a namespace of its own."""
    with netlink() as route:
        for rule in route.get_rules(family=2, priority=METADATA_PRIORITY):
            table = rule.get_attr("FRA_TABLE")
            route.rule("del", family=2, priority=METADATA_PRIORITY, table=table)
        for device in devices:
            index = _get(device)
            table = METADATA_TABLES + index
            route.route("replace", dst=METADATA, oif=index, scope=253, table=table, proto=PROTOCOL)
            route.rule(
                "add", family=2, priority=METADATA_PRIORITY, table=table, dst=METADATA[:-3], dst_len=32, iifname=device
            )
