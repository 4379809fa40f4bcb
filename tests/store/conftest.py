"""A fresh database for each test of a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, metadata, open_database


@pytest.fixture(params=["sqlite"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty database with the tables that the test's imports have declared."""
    db = await open_database(f"sqlite:///{tmp_path}/test.db", SystemClock())
    await db.write(lambda tx: metadata.create_all(tx.connection))
    yield db
    await db.close()
