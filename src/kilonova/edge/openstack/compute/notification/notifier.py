"""Events → notifications on the bus."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final

from kilonova.cloud.event.model import Event
from kilonova.cloud.server.model import Server
from kilonova.cloud.server.service import ServerService
from kilonova.edge.openstack.compute.link import exact
from kilonova.edge.openstack.compute.notification.naming import event_types
from kilonova.edge.openstack.compute.notification.payload import payload
from kilonova.kit.bus import Bus
from kilonova.kit.http.response import encode

TOPIC: Final = "versioned_notifications"
_NAMES: Final = uuid.UUID("6f0f5a0e-6d0b-4d1c-9d5e-2f4f3a3c7b11")


class Notifier:
    """Tells whoever listens to `versioned_notifications`. The same event makes the same messages, ids and all, so that
    who hears one twice can know."""

    def __init__(self, servers: ServerService, bus: Bus, cloud_id: str) -> None:
        self._servers = servers
        self._bus = bus
        self._cloud_id = cloud_id

    async def take(self, events: Sequence[Event]) -> None:
        """Tell of these. A server whose history is forgotten is not told of any more."""
        servers = await self._servers.known(sorted({event.server_id for event in events}))
        for event in events:
            server = servers.get(event.server_id)
            if server is not None:
                for message in notifications(event, server, self._cloud_id):
                    self._bus.wake(TOPIC, encode(message))


def notifications(event: Event, server: Server, cloud_id: str) -> Iterator[dict[str, Any]]:
    """The notifications of an event, in Nova's envelope."""
    host = event.body.get("host")
    for event_type in event_types(event):
        yield {
            "message_id": str(uuid.uuid5(_NAMES, f"{cloud_id} {event.seq} {event_type}")),
            "timestamp": (exact(event.at) or "").replace("T", " "),
            "publisher_id": f"nova-compute:{host}" if host else "nova-api:kilonova",
            "event_type": event_type,
            "priority": "ERROR" if event_type.endswith(".error") else "INFO",
            "payload": payload(event_type, event, server, f"kn-{cloud_id}-{server.id}"),
        }
