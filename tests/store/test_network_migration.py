"""Networks of an older kilonova: what was shared or external is seen by the same projects as before."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from network_world import ANN, Cloud

import kilonova
from kilonova.cloud.network.model import Listing
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import metadata, open_database
from kilonova.kit.db.migrate import migrate

SCRIPTS = Path(kilonova.__file__).parent / "migrations"
NETWORK = """
INSERT INTO network (id, project_id, name, description, admin_up, shared, external, mtu, dns_domain, port_security,
 tags, revision, created_at, updated_at) VALUES (?, 'ops', ?, '', 1, ?, ?, 1500, '', 1, '[]', 1, 7, 7)
"""


async def test_what_was_shared_stays_shared(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "old.db") as raw:
        raw.executescript((Path(__file__).parent / "schema_0001.sql").read_text())
        for name, shared, external in (("s", 1, 0), ("e", 0, 1), ("p", 0, 0)):
            raw.execute(NETWORK, (f"id-{name}", name, shared, external))
    raw.close()
    db = await open_database(f"sqlite:///{tmp_path}/old.db", SystemClock())
    await migrate(db, metadata, SCRIPTS)
    cloud = Cloud(db)
    seen = {n.name: (n.shared, n.external) for n in await cloud.service.networks.find(ANN, Listing())}
    assert seen == {"s": (True, False), "e": (False, True)}
    await db.close()
