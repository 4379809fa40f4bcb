"""One real cloud for all tests of this folder, and two guests that they share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cloud import RealCloud, Server, leftovers

from kilonova.guestimage.build import build

USER_DATA = '#!/bin/sh\necho "user data ran as $(whoami)"\necho ran >>/root/ran\n'


@pytest.fixture(scope="session")
def guest_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the guest's packages are kept: KILONOVA_TEST_CACHE, else for this session only."""
    return Path(os.environ.get("KILONOVA_TEST_CACHE") or tmp_path_factory.mktemp("guest-image"))


@pytest.fixture(scope="session")
def guest_image(guest_cache: Path) -> Path:
    """The guest image, built once."""
    file = guest_cache / "kilonova-guest.qcow2"
    steps: list[float] = []
    build(file, guest_cache / "guest-image-work", lambda text, fraction: steps.append(fraction))
    assert steps == sorted(steps)
    assert steps[-1] == 1.0
    return file


@pytest.fixture(scope="session")
def cloud(guest_image: Path, tell: Callable[[str], None]) -> Iterator[RealCloud]:
    """A real cloud on a directory that guests' processes can reach; at the end nothing of it is left."""
    root = Path(tempfile.mkdtemp(prefix="kilonova-vm-"))
    root.chmod(0o755)
    state = root / "cloud"
    cloud = RealCloud(state, {"KILONOVA_GUEST_IMAGE": str(guest_image)}, tell)
    yield cloud
    cloud.daemon.run("clean", "--yes")
    left = leftovers(cloud.cloud_id, state)
    shutil.rmtree(root)
    assert left == []


@pytest.fixture(scope="session")
def alpha(cloud: RealCloud) -> Server:
    """A guest that learned who it is from the metadata service. Tests leave it running."""
    return cloud.boot("alpha", USER_DATA, metadata={"purpose": "test"})


@pytest.fixture(scope="session")
def beta(cloud: RealCloud) -> Server:
    """A guest that learned who it is from its config drive. Tests leave it running."""
    return cloud.boot("beta", USER_DATA, config_drive=True)
