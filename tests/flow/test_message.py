"""Messages are hints: lost, doubled and reordered ones cost time, never correctness."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario import GONE, SCENARIOS, Count, check, finish
from world import World

from kilonova.kit.bus.faulty import Faults

FAULTS = {
    "lost": Faults(lose=0.3),
    "doubled": Faults(double=0.7),
    "reordered": Faults(delay=0.7, longest=0.05),
    "lost, doubled and reordered": Faults(lose=0.2, double=0.2, delay=0.4, longest=0.05),
}


@pytest.mark.parametrize("faults", FAULTS)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_flow(name: str, faults: str, database_url: str, tmp_path: Path, count: Count) -> None:
    scenario = SCENARIOS[name]
    seed = 1 if database_url.startswith("sqlite") else 2
    async with World(database_url, tmp_path, faults=FAULTS[faults], seed=seed) as world:
        server_id = await scenario.start(world, await scenario.prepare(world))
        phase = await check(world, server_id, (scenario.end,))
        if phase != GONE:
            await finish(world, server_id)
    count(name, f"messages {faults}")
