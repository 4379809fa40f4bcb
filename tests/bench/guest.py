"""A real guest: how long after the POST libvirt is asked to start it, with the image in the host's cache.

libvirt itself is the witness: a connection of our own hears `defined`, which the node causes right before it asks for
the start (everything that kilonova adds lies before it: API, placement, ports, network, disks, definition), and
`started`, which is when the hypervisor's own start is over. The guest has an empty disk: nothing is booted in it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tests.bench.daemon import running
from tests.bench.figure import Figure, percentile
from tests.bench.server import SERVERS, Recipe, make, until_built

GROUP = "vm"
BOOTS: Final = 3
IMAGE_BYTES: Final = 1 << 20
PATIENCE: Final = 60.0


class Witness:
    """Moments (perf_counter) at which libvirt told of a domain: (UUID, event) → seconds."""

    def __init__(self) -> None:
        import libvirt

        self._libvirt: Any = libvirt
        self.seen: dict[tuple[str, int], float] = {}
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=self._run, daemon=True, name="libvirt-events").start()
        self._connection = libvirt.openReadOnly("qemu:///system")
        self._connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._hear, None)

    def _run(self) -> None:
        while True:
            self._libvirt.virEventRunDefaultImpl()

    def _hear(self, _connection: Any, domain: Any, event: int, _detail: int, _opaque: Any) -> None:
        self.seen.setdefault((domain.UUIDString(), event), time.perf_counter())

    async def moments(self, server_id: str) -> tuple[float, float]:
        """When the server's domain was defined, and when it had started."""
        wanted = [(server_id, event) for event in (self._libvirt.VIR_DOMAIN_EVENT_DEFINED, _started(self._libvirt))]
        async with asyncio.timeout(PATIENCE):
            while not all(key in self.seen for key in wanted):
                await asyncio.sleep(0.01)
        return self.seen[wanted[0]], self.seen[wanted[1]]


def _started(libvirt: Any) -> int:
    return int(libvirt.VIR_DOMAIN_EVENT_STARTED)


async def measure() -> AsyncIterator[Figure]:
    """One guest at a time; the first one fills the cache and makes the network, and is not counted."""
    if os.geteuid() != 0:
        sys.stderr.write("  (real guests need root: not measured)\n")
        return
    with TemporaryDirectory(prefix="bench-") as place:
        image = Path(place) / "empty.raw"
        image.write_bytes(bytes(IMAGE_BYTES))
        environ = {"KILONOVA_GUEST_IMAGE": str(image), "KILONOVA_ACCELERATOR": "tcg"}
        async with running(1, driver="libvirt", environ=environ) as daemon:
            witness = Witness()
            caller = await daemon.caller()
            recipe = await Recipe.find(caller)
            added, own = [], []
            for i in range(BOOTS + 1):
                began = time.perf_counter()
                made, _ = await make(caller, caller.request("POST", SERVERS, recipe.body(f"guest-{i}")))
                defined, started = await witness.moments(made)
                await until_built(caller)
                await caller.ask(caller.request("DELETE", f"{SERVERS}/{made}"))
                while (await caller.ask(caller.request("GET", f"{SERVERS}/{made}"))).status != 404:
                    await asyncio.sleep(0.1)
                if i > 0:
                    added.append(defined - began)
                    own.append(started - defined)
    wall, rest = percentile(added, 0.5) * 1e3, percentile(own, 0.5) * 1e3
    yield Figure(
        GROUP, "real VM: added before the hypervisor's own start", wall, "ms", 150, wall=wall,
        note=f"p50 of {BOOTS}: POST → libvirt tells `defined`; libvirt's own start then takes {rest:.0f} ms",
    )  # fmt: skip
