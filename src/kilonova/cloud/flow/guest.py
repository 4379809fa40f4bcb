"""What the flows share: telling hosts what shall be, and seeing what is."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from kilonova.cloud.host import store as hosts
from kilonova.cloud.placement import allocation_store as allocations
from kilonova.cloud.placement.demand import takes_something
from kilonova.cloud.server import guest_store, store
from kilonova.cloud.server.demand import shape
from kilonova.cloud.server.model import Guest, Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.core.context import ALL
from kilonova.core.errors import Failure, Unavailable
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Lock, Run, Wait
from kilonova.wire.guest import GuestDocument, GuestSpec, ImageRef
from kilonova.wire.network import PortDoc

FAKE: Final = "fake."
"""Metadata items with this prefix script the fake driver (see node.driver.virt.fake)."""


def first_spec(server: Server, ports: tuple[PortDoc, ...], request_id: str) -> GuestSpec:
    """The spec that boots a new server for the first time."""
    return GuestSpec(
        server_id=server.id,
        fence=server.fence,
        version=1,
        power="running",
        name=server.name,
        **shape(server.flavor, server.image),
        image=msgspec.convert(server.image, ImageRef) if server.image else None,
        ports=ports,
        config_drive=server.config_drive,
        document=document(server),
        boot_count=1,
        fake=script(server),
        request_id=request_id,
    )


def script(server: Server) -> dict[str, str]:
    """What scripts a simulated guest."""
    return {k.removeprefix(FAKE): v for k, v in server.metadata.items() if k.startswith(FAKE)}


def document(server: Server) -> GuestDocument:
    """What the guest may read about itself."""
    key = server.key
    return GuestDocument(
        server_id=server.id,
        name=server.name,
        hostname=server.hostname,
        project_id=server.project_id,
        user_id=server.user_id,
        availability_zone=server.zone,
        launch_index=server.launch_index,
        reservation_id=server.reservation_id,
        public_keys={key.name: key.public_key} if key else {},
        key_types={key.name: key.type} if key else {},
        metadata=server.metadata,
        user_data=server.user_data,
        files=server.files,
        admin_password=server.admin_password,
        flavor=server.flavor.name,
        created_at=server.created_at,
    )


def tell(tx: Tx, nodes: Nodes, host_id: str, spec: GuestSpec) -> None:
    """Store what a host shall make of a guest, and hint it."""
    guest_store.desire(tx, host_id, spec)
    nodes.nudge(tx, host_id, spec)


def change(tx: Tx, nodes: Nodes, guest: Guest, request_id: str, **values: Any) -> None:
    """A new version of a guest's spec. What was to be given away once is not asked for again."""
    values = {"deposit_to": "", **values}
    spec = msgspec.structs.replace(guest.spec, version=guest.spec.version + 1, request_id=request_id, **values)
    tell(tx, nodes, guest.host_id, spec)


def abandon(tx: Tx, nodes: Nodes, guest: Guest) -> None:
    """Stop waiting for a host to give a guest up: it becomes the host's debt, under a fence above the guest's."""
    fence = guest.spec.fence + 1
    hosts.add_debt(tx, guest.host_id, guest.server_id, fence)
    guest_store.remove(tx, guest.host_id, guest.server_id)
    nodes.nudge(tx, guest.host_id, GuestSpec(server_id=guest.server_id, fence=fence, version=1, power="absent"))


def confirm(tx: Tx, guest: Guest) -> None:
    """Raise Unavailable (look again) when the host has reported since `guest` was read.

    Reports about a server that is being changed are its flow's business: the last one must not fall between the flow's
    look and its end.
    """
    present = guest_store.get(tx, guest.host_id, guest.server_id, lock=True)
    if present is None or present.seen != guest.seen:
        raise Unavailable("The guest changed meanwhile")


def subject(server_id: str) -> Lock:
    """What a flow waits for: anything new about a server's guests."""
    return Lock("guest", server_id)


def here(tx: Tx, server: Server) -> Guest | None:
    """The guest on the host where the server is; others are copies on their way, or left behind for a way back."""
    return None if server.host_id is None else guest_store.get(tx, server.host_id, server.id)


async def look(db: Database, run: Run) -> Guest | None:
    """The guest where the run's server is; its host is the run's from then on."""

    def work(tx: Tx) -> tuple[str, Guest | None]:
        server = store.get(tx, ALL, run.subject_id)
        return server.host_name, here(tx, server)

    run.host, found = await db.read(work)
    return found


def wait_for(server_id: str, seen: int, poll: float = 10.0) -> Wait:
    """Wait for news about a server's guests since `seen` (the sum over its guests)."""
    return Wait(subject(server_id), seen, lambda tx: guest_store.seen_of(tx, server_id), poll=poll)


def wait_on(guest: Guest, poll: float = 10.0) -> Wait:
    """Wait for news about one guest."""
    return Wait(
        subject(guest.server_id), guest.seen, lambda tx: guest_store.seen_on(tx, guest.host_id, guest.server_id), poll
    )


def fault(failure: Failure, now: int) -> dict[str, Any]:
    """A failure as a server's fault: public text, private details for administrators."""
    return {"code": 500, "message": failure.message, "details": failure.detail, "created": now}


def release_offers(tx: Tx, server: Server) -> None:
    """Give back what a server has of providers beside its host's claim; again does nothing. A server whose flavor asks
    for nothing there costs nothing."""
    if takes_something(server.flavor.extra_specs):
        allocations.release(tx, server.id)
