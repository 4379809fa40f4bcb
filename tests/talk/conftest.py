"""What the conversations share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from compute_world import Site
from placement_site import Resources

from kilonova.kit.clock import SystemClock
from kilonova.kit.db import open_database


@pytest.fixture
def hosts() -> int:
    """How many simulated hosts `site` has; a module's own fixture says otherwise."""
    return 1


@pytest.fixture
async def site(sqlite_url: str, tmp_path: Path, hosts: int) -> AsyncIterator[Site]:
    """A cloud of simulated hosts, and four who talk to it."""
    db = await open_database(sqlite_url, SystemClock())
    site = Site(db, tmp_path)
    await site.start(hosts=hosts)
    yield site
    await site.stop()
    await db.close()


@pytest.fixture
async def still(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A cloud in which nothing is driven: what is asked for stays as it was asked."""
    db = await open_database(sqlite_url, SystemClock())
    site = Site(db, tmp_path)
    await site.start(work=False)
    yield site
    await site.stop()
    await db.close()


@pytest.fixture
def resources(site: Site) -> Resources:
    """The Placement API of a cloud."""
    return Resources(site)
