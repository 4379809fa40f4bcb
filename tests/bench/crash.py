"""kill -9 with 500 operations in flight: what is stuck, what is left behind, how soon all go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

from tests.bench.daemon import running
from tests.bench.figure import Figure
from tests.bench.server import SERVERS, Recipe, count, make, until_built

GROUP = "crash"
HOSTS: Final = 100
FLIGHT: Final = 500
BOOT_SECONDS: Final = 8.0
RESUME_PATIENCE: Final = 60.0
IN_HAND: Final = "kilonova_operations_in_hand"


async def measure() -> AsyncIterator[Figure]:
    """Each boot lasts 8 s, so that nothing ends by itself before the kill or while the restart is watched."""
    environ = {"KILONOVA_FAKE_BOOT_SECONDS": str(BOOT_SECONDS)}
    async with running(HOSTS, environ=environ) as daemon:
        caller = await daemon.caller()
        recipe = await Recipe.find(caller)
        await make(caller, caller.request("POST", SERVERS, recipe.body("flight", FLIGHT)))
        await asyncio.sleep(3)
        in_hand = int((await caller.gauges())[IN_HAND])
        building = await count(caller, "BUILD")
        caller.close()
        daemon.kill()
        began = time.perf_counter()
        answered = await daemon.start()
        caller = await daemon.caller()
        while (held := int((await caller.gauges())[IN_HAND])) < building:
            if time.perf_counter() - began > RESUME_PATIENCE:
                raise RuntimeError(f"{held} of {building} operations were resumed")
            await asyncio.sleep(0.05)
        resumed = time.perf_counter() - began
        await until_built(caller, pause=0.2)
        done, cpu = time.perf_counter() - began, daemon.cpu()
        active = await count(caller, "ACTIVE")
        await asyncio.sleep(2)
        findings = (await caller.post("/kilonova/v1/doctor", {}, status=200))["findings"]
        note = f"{in_hand} operations in hand, {building} servers building at the kill"
        yield Figure(GROUP, "kill -9: servers stuck or failed", FLIGHT - active, "", 0, note=note)
        yield Figure(GROUP, "kill -9: findings of doctor", len(findings), "", 0, note=_kinds(findings))
        yield Figure(
            GROUP, "kill -9: all operations resumed", resumed, "s", 5, wall=resumed * 1e3,
            note=f"since the restart; first 200 after {answered:.2f} s",
        )  # fmt: skip
        yield Figure(
            GROUP, "kill -9: all servers ACTIVE", done, "s", cpu=cpu * 1e3, wall=done * 1e3,
            note=f"since the restart; a boot lasts {BOOT_SECONDS:g} s",
        )  # fmt: skip


def _kinds(findings: list[dict[str, str]]) -> str:
    kinds = sorted({f"{f['kind']}: {f['problem']}" for f in findings})
    return "; ".join(kinds)[:200]
