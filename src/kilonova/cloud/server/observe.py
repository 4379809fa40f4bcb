"""Servers follow what happens to their guests without being asked: power off inside, destroyed by hand, gone."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kilonova.cloud.server import guest_store, store
from kilonova.cloud.server.model import Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.phase import is_settled
from kilonova.core.context import ALL
from kilonova.kit.db import Tx
from kilonova.kit.log import Logger
from kilonova.wire.guest import GuestObservation

log = Logger(__name__)


def settle(tx: Tx, host_id: str, observations: Sequence[GuestObservation], nodes: Nodes) -> None:
    """For servers that nothing is being done to: move them to what their host saw. Others are their flow's business."""
    phases = store.phases(tx, [o.server_id for o in observations if o.settled])
    for seen in observations:
        if seen.settled and is_settled(phases.get(seen.server_id, "")):
            server = store.lock(tx, ALL, seen.server_id)
            if server.host_id == host_id and is_settled(server.phase):
                _follow(tx, host_id, server, seen, nodes)


def _follow(tx: Tx, host_id: str, server: Server, seen: GuestObservation, nodes: Nodes) -> None:
    if seen.power != server.power and _is_old(tx, host_id, seen):
        return
    if seen.power == "absent" and server.phase not in ("error", "shelved", "soft_deleted"):
        fault = {"code": 500, "message": "The guest is gone from its host; its disk is kept", "details": seen.cause}
        store.move(tx, server, "fail", power="none", fault={**fault, "created": tx.now})
        log.warning("a guest is gone", server=server.id, host_id=host_id)
    elif seen.power in ("stopped", "crashed") and server.phase in ("active", "paused", "suspended"):
        _halt(tx, host_id, server, seen, nodes)
    elif seen.power != server.power and seen.power not in ("absent", "unknown"):
        store.edit(tx, ALL, server.id, power=seen.power)
    if seen.password and not server.password and seen.password_clears == _clears(tx, host_id, server.id):
        store.edit(tx, ALL, server.id, password=seen.password)


def _clears(tx: Tx, host_id: str, server_id: str) -> int:
    guest = guest_store.get(tx, host_id, server_id)
    return guest.spec.password_clears if guest is not None else 0


def _is_old(tx: Tx, host_id: str, seen: GuestObservation) -> bool:
    """Whether the host is yet to hear of something newer: what it saw before that is no news."""
    guest = guest_store.get(tx, host_id, seen.server_id)
    return guest is not None and (seen.fence, seen.version) < (guest.spec.fence, guest.spec.version)


def _halt(tx: Tx, host_id: str, server: Server, seen: GuestObservation, nodes: Nodes) -> None:
    """The guest went off by itself: that is what shall be now, so that no node starts it again. The host is told at
    once: until it has heard, what it sees next is old."""
    guest = guest_store.get(tx, host_id, server.id)
    if guest is not None:
        spec = msgspec.structs.replace(guest.spec, version=guest.spec.version + 1, power="stopped")
        guest_store.desire(tx, host_id, spec)
        nodes.nudge(tx, host_id, spec)
    store.move(tx, server, "halt", power=seen.power)
    log.info("a guest went off by itself", server=server.id, host_id=host_id, cause=seen.cause)
