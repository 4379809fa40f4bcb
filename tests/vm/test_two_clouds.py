"""Two clouds side by side on one machine, and the end of one of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cloud import RealCloud, Server, leftovers

pytestmark = pytest.mark.vm


@pytest.fixture
def second(guest_image: Path, tell: Callable[[str], None]) -> Iterator[RealCloud]:
    """A cloud of its own whose state its guests' processes cannot reach, so that disks lie in a place of their own."""
    root = Path(tempfile.mkdtemp(prefix="kilonova-second-"))
    environ = {"KILONOVA_GUEST_IMAGE": str(guest_image), "KILONOVA_ACCELERATOR": "tcg"}
    cloud = RealCloud(root / "cloud", {**environ, "KILONOVA_NODE_DIR": f"{root}-node"}, tell)
    yield cloud
    shutil.rmtree(root)


def test_the_end_of_one_cloud_does_not_touch_the_other(cloud: RealCloud, alpha: Server, second: RealCloud) -> None:
    place = Path(f"{second.state.parent}-node")
    server = second.create("other")
    second.api.wait_status(server["id"], "ACTIVE")
    assert (place / "block" / "disks" / server["id"] / "root").exists()
    assert [s["id"] for s in cloud.api.servers() if s["id"] == server["id"]] == []
    process, second_id = cloud.qemu(alpha), second.cloud_id
    (place / "somebody-elses").touch()
    second.daemon.run("clean", "--yes")
    assert leftovers(second_id, second.state) == []
    assert [path.name for path in place.iterdir()] == ["somebody-elses"]
    shutil.rmtree(place)
    assert cloud.qemu(alpha) == process
    assert cloud.ssh(alpha, "hostname") == "alpha"
    assert "All is well" in (told := cloud.daemon.doctor()), told
