"""SIGKILL at random moments while simulated guests are made and deleted: nothing sticks, nothing leaks."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon import SETTLED, Caller, Daemon, wait
from kilonova.core.errors import Failure
from kilonova.state import StateDir

ENVIRONMENT = {"KILONOVA_PRIVATE_CIDR": "10.96.0.0/16"}
HOSTS = 3
ROUNDS, PER_ROUND = 4, 26
RESUMED = 5.0


@pytest.fixture
def place() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="kilonova-fleet-"))
    yield root / "cloud"
    Daemon(root / "cloud").run("clean", "--yes")
    assert list(root.iterdir()) == []
    shutil.rmtree(root)


def test_a_cloud_that_says_ready_has_all_its_hosts(place: Path) -> None:
    hosts = Daemon(place, ("--driver", "fake", "--fake-hosts", "60")).up().get("/kilonova/v1/status")["hosts"]
    assert [host["up"] for host in hosts] == [True] * 60


def daemon(place: Path, boot_seconds: float) -> Daemon:
    environ = {**ENVIRONMENT, "KILONOVA_FAKE_BOOT_SECONDS": str(boot_seconds)}
    return Daemon(place, ("--driver", "fake", "--fake-hosts", str(HOSTS)), environ)


def body(caller: Caller, name: str, count: int = 1) -> dict[str, object]:
    server = {
        "name": name,
        "imageRef": caller.image_id(),
        "flavorRef": caller.flavor_id(),
        "networks": [{"uuid": caller.network_id("private")}],
    }
    return {"server": {**server, "min_count": count, "max_count": count} if count > 1 else server}


def work(caller: Caller, names: list[str], victims: list[str], done: list[str]) -> None:
    """Make and delete in turns until the cloud is not there any more."""
    victims = list(victims)
    try:
        new = body(caller, "")
        for name in names:
            caller.post("/compute/v2.1/servers", {"server": {**new["server"], "name": name}})  # type: ignore[dict-item]
            done.append(name)
            if victims:
                caller.delete(f"/compute/v2.1/servers/{victims.pop()}")
    except Failure:
        return


def settle(caller: Caller, began: float) -> float:
    """Wait until every operation is in a worker's hands, then until nothing is under way; the seconds of the first."""

    def resumed() -> bool:
        return caller.metric("kilonova_operations_in_hand") >= caller.get("/kilonova/v1/status")["operations"]

    wait(resumed, 30, lambda: "operations are in nobody's hands", pause=0.02)
    seconds = time.monotonic() - began
    wait(lambda: caller.get("/kilonova/v1/status")["operations"] == 0, 60, lambda: str(caller.servers())[:3000])
    return seconds


def check(cloud: Daemon, caller: Caller) -> None:
    """Nothing sticks, nothing leaks."""
    for server in caller.servers():
        assert server["status"] in SETTLED, server
        assert server["OS-EXT-STS:task_state"] is None, server
        assert server["status"] != "ERROR" or server["fault"]["message"], server
    assert "All is well" in (told := cloud.doctor()), told


def test_a_hundred_creates_and_deletes_survive_sudden_ends(place: Path, tell: Callable[[str], None]) -> None:
    seed = random.randrange(2**32)
    tell(f"fleet: seed {seed}")
    chance = random.Random(seed)
    cloud = daemon(place, 0.3)
    made = kills = 0
    slowest = 0.0
    caller = cloud.up()
    for turn in range(ROUNDS):
        names, done = [f"s{turn}-{i}" for i in range(PER_ROUND)], []
        running = [s["id"] for s in caller.servers()]
        thread = threading.Thread(target=work, args=(Caller(place), names, running, done))
        thread.start()
        time.sleep(chance.uniform(0.05, 1.2))
        cloud.kill()
        kills += 1
        thread.join(30)
        caller = cloud.up()
        slowest = max(slowest, settle(caller, time.monotonic()))
        present = {s["name"] for s in caller.servers()}
        # What was answered is there or deleted in this round; what was not answered may be there all the same.
        assert set(done) <= present
        work(caller, [n for n in names if n not in present], [s["id"] for s in caller.servers()][:PER_ROUND], done)
        made += PER_ROUND
        settle(caller, time.monotonic())
        check(cloud, caller)
    for server in caller.servers():
        caller.delete(f"/compute/v2.1/servers/{server['id']}")
    time.sleep(chance.uniform(0.05, 0.6))
    cloud.kill()
    caller = cloud.up()
    slowest = max(slowest, settle(caller, time.monotonic()))
    assert caller.servers() == []
    check(cloud, caller)
    assert made >= 100
    assert slowest <= RESUMED
    tell(f"fleet: {made} servers made and deleted, {kills + 1} sudden ends, resumed within {slowest:.2f} s")


def cut_off(cloud: Daemon, seconds: float) -> None:
    """Start, and kill it so many seconds after it took its directory."""
    process = cloud.begin()
    wait(lambda: StateDir(cloud.state).running() == process.pid, 30, cloud.log_tail, pause=0.005)
    time.sleep(seconds)
    process.kill()
    process.wait()


def test_a_first_start_that_is_cut_off_again_and_again(place: Path, tell: Callable[[str], None]) -> None:
    seed = random.randrange(2**32)
    tell(f"fleet: first starts cut off, seed {seed}")
    chance = random.Random(seed)
    cloud = daemon(place, 0.0)
    for attempt in range(5):
        cut_off(cloud, chance.uniform(0.0, 0.2 * (attempt + 1)))
    caller = cloud.up()
    found = caller.get("/image/v2/images")["images"]
    assert [(image["name"], image["status"]) for image in found] == [("kilonova-guest", "active")]
    assert sorted(n["name"] for n in caller.get("/network/v2.0/networks")["networks"]) == ["private", "public"]
    caller.wait_status(caller.post("/compute/v2.1/servers", body(caller, "first"))["server"]["id"], "ACTIVE")
    check(cloud, caller)


def test_five_hundred_operations_in_flight(place: Path, tell: Callable[[str], None]) -> None:
    slow, cloud = daemon(place, 60.0), daemon(place, 0.2)
    caller = slow.up()
    caller.post("/compute/v2.1/servers", body(caller, "many", 500))
    assert caller.get("/kilonova/v1/status")["operations"] == 500
    slow.kill()
    caller = cloud.up()
    seconds = settle(caller, time.monotonic())
    statuses = [s["status"] for s in caller.servers()]
    assert statuses == ["ACTIVE"] * 500
    check(cloud, caller)
    assert seconds <= RESUMED
    tell(f"fleet: 500 operations resumed within {seconds:.2f} s")
