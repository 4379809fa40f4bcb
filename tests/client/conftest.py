"""Clouds for the real clients: one with simulated hosts, one with real guests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_cloud import Cloud

from kilonova.guestimage.build import build


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """Three simulated hosts."""
    running = Cloud("--driver fake --fake-hosts 3")
    yield running
    running.close()


@pytest.fixture(scope="session")
def guest_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest image, built unless the cache has it."""
    place = Path(os.environ.get("KILONOVA_TEST_CACHE") or tmp_path_factory.mktemp("guest-image"))
    file = place / "kilonova-guest.qcow2"
    if not file.exists():
        build(file, place / "guest-image-work", lambda text, fraction: None)
    return file


@pytest.fixture(scope="module")
def real_cloud(guest_image: Path) -> Iterator[Cloud]:
    """This machine as the only host, with real guests, by emulation; gone before other suites boot theirs."""
    running = Cloud("", {"KILONOVA_GUEST_IMAGE": str(guest_image), "KILONOVA_ACCELERATOR": "tcg"})
    yield running
    running.close()


@pytest.fixture(scope="module")
def two_hosts() -> Iterator[Cloud]:
    """A cloud of two simulated hosts."""
    cloud = Cloud("--driver fake --fake-hosts 2 --port 0")
    yield cloud
    cloud.check()
    cloud.close()
