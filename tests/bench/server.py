"""What the measurements of servers share: the request that makes some, and waiting for all of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

from tests.bench.caller import Caller
from tests.bench.daemon import Daemon

SERVERS: Final = "/compute/v2.1/servers"
PATIENCE: Final = 120.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What every server of a measurement is made of."""

    flavor: str
    image: str
    network: str

    @classmethod
    async def find(cls, caller: Caller) -> Recipe:
        """The smallest flavor, the first image, the private network: what every cloud starts with."""
        flavors = (await caller.get("/compute/v2.1/flavors"))["flavors"]
        images = (await caller.get("/image/v2/images"))["images"]
        networks = (await caller.get("/network/v2.0/networks?name=private"))["networks"]
        nano = next(f["id"] for f in flavors if f["name"] == "m1.nano")
        return cls(nano, images[0]["id"], networks[0]["id"])

    def body(self, name: str, count: int = 1) -> dict[str, Any]:
        """The body of a POST that makes `count` servers with a port each."""
        server = {
            "name": name,
            "flavorRef": self.flavor,
            "imageRef": self.image,
            "networks": [{"uuid": self.network}],
            **({"min_count": count, "max_count": count} if count > 1 else {}),
        }
        return {"server": server}


async def make(caller: Caller, request: bytes) -> tuple[str, float]:
    """POST one server; answers its id and the seconds until the reply."""
    began = time.perf_counter()
    reply = await caller.ask(request)
    took = time.perf_counter() - began
    if reply.status != 202:
        raise RuntimeError(f"POST /servers: {reply.status} {reply.body.decode()[:500]}")
    return reply.json()["server"]["id"], took


async def building(caller: Caller) -> int:
    """How many servers are not there yet, at most 1 is looked at."""
    return len((await caller.get(f"{SERVERS}?status=BUILD&limit=1"))["servers"])


async def until_built(caller: Caller, pause: float = 0.05) -> None:
    """Wait until none is being built. Raises RuntimeError when that takes too long or one is in ERROR."""
    deadline = time.monotonic() + PATIENCE
    while await building(caller):
        if time.monotonic() > deadline:
            raise RuntimeError("servers do not get ready")
        await asyncio.sleep(pause)
    failed = (await caller.get(f"{SERVERS}/detail?status=ERROR&limit=1"))["servers"]
    if failed:
        raise RuntimeError(f"a server failed: {failed[0].get('fault')}")


async def count(caller: Caller, status: str) -> int:
    """How many servers have this status."""
    total, marker = 0, ""
    while page := (await caller.get(f"{SERVERS}?status={status}&limit=1000{marker}"))["servers"]:
        total += len(page)
        marker = f"&marker={page[-1]['id']}"
    return total


async def idle_share(daemon: Daemon, seconds: float = 4.0) -> float:
    """CPU seconds per second that the daemon takes for its hosts when nothing is asked of it."""
    before = daemon.cpu()
    await asyncio.sleep(seconds)
    return (daemon.cpu() - before) / seconds
