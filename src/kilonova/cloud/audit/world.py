"""What really exists on hosts, held against the rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from kilonova.cloud.audit.model import Finding
from kilonova.cloud.audit.rows import Rows
from kilonova.wire.node import World

LOOK = "Nothing was touched: look at it, then remove it by hand."


def check_host(rows: Rows, world: World, existing: Mapping[str, Collection[str]]) -> Iterator[Finding]:
    """Every disagreement between a host and the rows. `existing` are the networks, routers and ports that have a row;
    one that a host does not need any more is no orphan, it goes with the host's next digest.

    Servers that are being changed are left out: what they have is their operation's business.
    """
    host = rows.hosts[world.host_id]
    expected = {s for h, s in rows.guests if h == world.host_id}
    owed = {d.server_id for d in rows.debts if d.host_id == world.host_id}
    for server_id in world.guests:
        if server_id not in expected | owed | rows.busy:
            yield Finding("domain", server_id, host.name, "a guest that no server accounts for", LOOK)
    for server_id in world.disks:
        if server_id not in expected | owed | rows.busy:
            yield Finding("disk", server_id, host.name, "disks that no server accounts for", LOOK)
    for server_id in sorted(expected - rows.busy):
        phase = rows.servers.get(server_id, ("", None))[0]
        if phase in ("active", "stopped") and server_id not in world.guests:
            yield Finding("server", server_id, host.name, f"it is {phase} but the hypervisor does not know it", LOOK)
        if phase == "active" and world.guests.get(server_id, "running") not in ("running", "paused"):
            yield Finding("server", server_id, host.name, "it is active but its guest is off", "It is seen soon.")
    if host.up:
        for server_id in sorted(owed & set(world.guests)):
            yield Finding("debt", server_id, host.name, "a deleted server's guest is still there", "It goes soon.")
    for kind, present in (("network", world.networks), ("router", world.routers), ("port", world.ports)):
        for identifier in present:
            if identifier not in existing.get(kind, ()):
                yield Finding(kind, identifier, host.name, f"a {kind} that no row accounts for", LOOK)
    for stray in world.strays:
        yield Finding("stray", stray, host.name, "a thing of this cloud that belongs to nothing", LOOK)
