"""Bringing a server to a host: choose, claim, bind its ports there, tell the host; and taking all that back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.host import store as hosts
from kilonova.cloud.host.model import Demand, Host
from kilonova.cloud.placement import allocation_store as allocations
from kilonova.cloud.placement.demand import Offers, Takes
from kilonova.cloud.scheduler.filters import Request, Wish
from kilonova.cloud.server import guest_store, migration_store
from kilonova.cloud.server.model import FlavorCopy, Guest, Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.placement import Placement, request_for
from kilonova.cloud.server.wish import admits
from kilonova.core.decision import Decision
from kilonova.core.errors import NoCapacity, Unavailable
from kilonova.kit.db import Tx
from kilonova.kit.ops import Run
from kilonova.wire.guest import ImageRef
from kilonova.wire.network import PortDoc


class Network(Protocol):
    """The part of the network service that a move between hosts needs."""

    def bind(self, tx: Tx, server_id: str, host_id: str | None) -> None:
        """Say on which host a server's ports are; None for nowhere."""

    def port_docs(self, tx: Tx, server_id: str, host_id: str) -> tuple[PortDoc, ...]:
        """The ports as the node needs them."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a server could go, the best host first, and what it takes there."""

    decision: Decision
    request: Request
    offered: Offers | None


async def choose(
    placement: Placement,
    server: Server,
    flavor: FlavorCopy,
    run: Run,
    *,
    host: str | None = None,
    zone: str | None = None,
    exclude: Sequence[str] = (),
    leaves: bool = False,
) -> Spot:
    """Look for hosts for a server, were it of this flavor; not those tried before (`exclude`), nor the one that it
    `leaves`. Raises NoCapacity with what removed the others."""
    offered = await placement.offers(flavor)
    request = request_for(flavor, zone=zone, host=host, exclude=frozenset(exclude), offered=offered)
    image = server.image.get("properties") or {}
    wishes = await placement.wishes(server)
    if leaves and server.host_id is not None:
        wishes = (Wish("its own host", without=frozenset([server.host_id])), *wishes)
    request = replace(request, wishes=wishes, project_id=server.project_id, specs=flavor.extra_specs, image=image)
    decision = await placement.choose(request, fresh=run.attempt > 0)
    if not decision.chosen:
        raise no_host(decision, run)
    run.details = f"chose among {decision.considered} hosts"
    return Spot(decision, request, offered)


def claim(tx: Tx, spot: Spot, server: Server, consumer: str) -> Host:
    """Claim the first chosen host that still has room, with what else is asked for, and that has nothing left of an
    earlier guest of the server. Raises Unavailable (try again) when none of them has."""
    request = spot.request
    for host_id in spot.decision.chosen:
        if hosts.owes(tx, host_id, server.id) or not admits(tx, server, host_id):
            continue
        host = hosts.get(tx, host_id)
        demand = Demand(request.vcpus, request.memory_mb + host.memory_overhead, request.disk_gb)
        if hosts.take_claim(tx, host_id, consumer, demand):
            if spot.offered is None or _take(tx, server, spot.offered.ways[host_id]):
                return host
            hosts.release(tx, consumer, host_id)
    detail = msgspec.json.encode(spot.decision.chosen).decode()
    raise Unavailable("Every chosen host was taken meanwhile", detail=detail)


def _take(tx: Tx, server: Server, ways: Sequence[Takes]) -> bool:
    """Allocate by the first way that still has room; a way that takes nothing (traits alone) always has."""
    owner = allocations.server_consumer(server.id, server.project_id, server.user_id, server.fence)
    return any(not takes or allocations.take(tx, owner, takes) for takes in ways)


def no_host(decision: Decision, run: Run) -> NoCapacity:
    """The failure that says what removed how many hosts, and why those tried before failed."""
    before = run.frame.get("errors", [])
    tail = f" (before that, {len(before)} failed: {before[-1].partition(': ')[2]})" if before else ""
    return NoCapacity(f"No valid host was found: {decision.explain()}{tail}", detail="; ".join(before))


def land(
    tx: Tx,
    network: Network,
    nodes: Nodes,
    server: Server,
    host_id: str,
    run: Run,
    image: ImageRef | None,
    **values: Any,
) -> None:
    """Bind a server's ports to a host and tell it to make the guest from `image`, under the server's fence."""
    network.bind(tx, server.id, host_id)
    ports = network.port_docs(tx, server.id, host_id)
    spec = msgspec.structs.replace(guests.first_spec(server, ports, run.request_id), image=image, **values)
    guests.tell(tx, nodes, host_id, spec)


def note(tx: Tx, run: Run, server: Server, kind: str, status: str, dest: str = "", flavor: str = "") -> None:
    """List a move of a server to `dest` (empty: no host was found), and to another flavor if one is given."""
    own = server.flavor.id
    record = {
        "uuid": run.id, "server_id": server.id, "project_id": server.project_id, "user_id": run.operation.user_id,
        "kind": kind, "status": status, "source": server.host_name, "dest": dest,
        "old_flavor": own, "new_flavor": flavor or own,
    }  # fmt: skip
    migration_store.begin(tx, record)


def leave(tx: Tx, nodes: Nodes, server_id: str, host_id: str) -> None:
    """Give up what a host may have of a server, without waiting for it."""
    guest = guest_store.get(tx, host_id, server_id)
    if guest is not None:
        guests.abandon(tx, nodes, guest)


def is_gone(guest: Guest | None) -> bool:
    """Whether a host has cleared its guest as it was told to, or never had one. One that is only not there any more has
    left its disks."""
    if guest is None:
        return True
    seen = guest.observed
    return seen is not None and seen.power == "absent" and guest.spec.power == "absent" and guest.reached()
