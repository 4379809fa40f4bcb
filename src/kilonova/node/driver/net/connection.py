"""Connections as conntrack knows them (ctnetlink, /usr/include/linux/netfilter/nfnetlink_conntrack.h).

A connection of which ENDED is noted has lost its privilege: what belongs to it is asked of the rules again, packet by
packet and in both directions. Deleting the entry would not do: conntrack takes a TCP stream up again in the middle,
from whichever side speaks next. All functions block and act in the calling thread's namespace.
"""

from __future__ import annotations

import errno
import itertools
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from pyroute2 import NFCTSocket
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple

from kilonova.node.driver.failure import DriverError

ENDED: Final = 1
"""The mark of a connection that no rule allows any more. Marks in a zone of ours are ours."""
ICMP: Final = 1
ICMPV6: Final = 58


@dataclass(frozen=True, slots=True)
class Connection:
    """What the first packet looked like. `seen_as` is the source that answers go to: another one after translation.

    `port` is the destination's, None where the protocol has none; `icmp` the type and code.
    """

    source: str
    destination: str
    protocol: int
    port: int | None = None
    icmp: tuple[int, int] | None = None
    zone: int = 0
    seen_as: str = ""
    ended: bool = False
    entry: Any = field(default=None, compare=False, repr=False)


def list_connections(addresses: Iterable[str], zone: int = 0) -> list[Connection]:
    """Those of a zone that began at one of these addresses or went to one. The kernel does the picking."""
    found = []
    for family, group in itertools.groupby(sorted(addresses, key=_family), _family):
        with _conntrack(family) as table:
            for address, side in itertools.product(group, ("saddr", "daddr")):
                pattern = NFCTAttrTuple(family=family, **{side: address})
                found += [_read(message) for message in table.dump(tuple_orig=pattern)]
    return [connection for connection in found if connection.zone == zone]


def list_translated(address: str) -> list[Connection]:
    """Those of no zone whose source the world sees as this address. Reads all that there are."""
    with _conntrack(_family(address)) as table:
        found = [_read(message) for message in table.dump()]
    return [entry for entry in found if entry.zone == 0 and entry.seen_as == address != entry.source]


def note(connection: Connection, *, ended: bool) -> None:
    """Write whether a connection has lost its privilege. One that is over meanwhile is no error."""
    _change("set", connection, mark=ENDED if ended else 0)


def forget(connection: Connection) -> None:
    """Delete what conntrack knows of it, translation included."""
    _change("del", connection)


def _change(verb: str, connection: Connection, **more: Any) -> None:
    zone = {"zone": connection.zone} if connection.zone else {}
    with _conntrack(_family(connection.source)) as table:
        try:
            table.entry(verb, tuple_orig=connection.entry, **zone, **more)
        except NetlinkError as error:
            if error.code != errno.ENOENT:
                raise


@contextmanager
def _conntrack(family: int) -> Iterator[Any]:
    try:
        with NFCTSocket(family) as table:
            yield table
    except NetlinkError as error:
        raise DriverError("driver", "conntrack refused a question or a change", detail=str(error)) from error


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _read(message: Any) -> Connection:
    source, destination, protocol = _ends(message.get_attr("CTA_TUPLE_ORIG"))
    answer = message.get_attr("CTA_TUPLE_REPLY")
    number = protocol.get_attr("CTA_PROTO_NUM")
    kind = {ICMP: "CTA_PROTO_ICMP", ICMPV6: "CTA_PROTO_ICMPV6"}.get(number)
    return Connection(
        source=source,
        destination=destination,
        protocol=number,
        port=protocol.get_attr("CTA_PROTO_DST_PORT"),
        icmp=(protocol.get_attr(kind + "_TYPE"), protocol.get_attr(kind + "_CODE")) if kind else None,
        zone=message.get_attr("CTA_ZONE") or 0,
        seen_as=_ends(answer)[1] if answer is not None else "",
        ended=message.get_attr("CTA_MARK") == ENDED,
        entry=_copy(message.get_attr("CTA_TUPLE_ORIG")),
    )


def _ends(tuple_: Any) -> tuple[str, str, Any]:
    ip = tuple_.get_attr("CTA_TUPLE_IP")
    source = ip.get_attr("CTA_IP_V4_SRC") or ip.get_attr("CTA_IP_V6_SRC")
    destination = ip.get_attr("CTA_IP_V4_DST") or ip.get_attr("CTA_IP_V6_DST")
    return source, destination, tuple_.get_attr("CTA_TUPLE_PROTO")


def _copy(attribute: Any) -> Any:
    """What came from the kernel, as what goes back to it."""
    if not hasattr(attribute, "get_attr") or "attrs" not in attribute:
        return attribute
    return {"attrs": [[name, _copy(value)] for name, value in ((cell[0], cell[1]) for cell in attribute["attrs"])]}
