"""The net port: networks, routers, ports and filters on one host, from documents.

Level-triggered and idempotent: `apply_*` makes the world equal to the document, whatever was there; a document that is
already applied costs next to nothing. Drivers touch only what carries the cloud's id. Errors are DriverError.
"""

from __future__ import annotations

from dataclasses import dataclass
from socket import socket
from typing import Protocol

from kilonova.wire.network import AddressSetDoc, NetworkDoc, PortDoc, RouterDoc


@dataclass(frozen=True, slots=True)
class PortDevice:
    """Where a guest's NIC plugs in (empty names on a fake network)."""

    bridge: str
    device: str
    mtu: int


@dataclass(frozen=True, slots=True)
class NetWorld:
    """What exists on this host and carries the cloud's id; `strays` are things of ours that fit no document."""

    networks: frozenset[str]
    routers: frozenset[str]
    ports: frozenset[str]
    strays: tuple[str, ...] = ()


class NetDriver(Protocol):
    """Networking on one host; see the module's promise."""

    filters: bool
    """Whether this driver wants rules and address sets at all (the fake one does not)."""

    async def start(self) -> None:
        """Prepare the host; adopt what an earlier run left. Raises DriverError with what to do when it cannot."""

    async def close(self) -> None:
        """Let go. Networks, DHCP and filters go on working for running guests."""

    async def apply_network(self, doc: NetworkDoc) -> None:
        """Bridge, DHCP, resolver and metadata address of a network (an external one: the way out of this host)."""

    async def remove_network(self, network_id: str) -> None:
        """Take a network away, with everything in it."""

    async def apply_router(self, doc: RouterDoc) -> None:
        """A router joined to its networks, with NAT and floating addresses. Its networks have been applied before."""

    async def remove_router(self, router_id: str) -> None:
        """Take a router away."""

    async def apply_port(self, doc: PortDoc) -> PortDevice:
        """DHCP entry and filter of a port, in force before the guest's NIC can send. Its network was applied before."""

    async def remove_port(self, port_id: str) -> None:
        """Take a port's DHCP entry and filter away."""

    async def apply_address_set(self, doc: AddressSetDoc) -> None:
        """Replace the members of a security group's address set."""

    async def remove_address_set(self, group_id: str) -> None:
        """Forget an address set that no rule uses any more."""

    async def metadata_sockets(self, network_id: str) -> tuple[socket, ...]:
        """Listening TCP sockets on 169.254.169.254:80 and [fe80::a9fe:a9fe]:80 inside the network (none on a fake one,
        the first alone where the host has no IPv6)."""

    async def world(self) -> NetWorld:
        """What exists here, asked of the kernel."""

    async def clean(self) -> None:
        """Remove everything on this host that carries the cloud's id."""
