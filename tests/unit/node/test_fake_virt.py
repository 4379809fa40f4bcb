"""Scripts and survival of simulated hosts."""

from __future__ import annotations

import random
import uuid
from pathlib import Path

import pytest

from kilonova.kit.clock import SECOND
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.virt.fake import FakeScript, FakeVirt
from kilonova.node.driver.virt.fake_journal import FakeJournal
from kilonova.wire.guest import GuestSpec


class HastyClock:
    """A clock on which sleeping takes no time but is counted."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> int:
        return int(self.seconds * SECOND)

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def guest(**fake: str) -> GuestSpec:
    words = {key.replace("__", "."): value for key, value in fake.items()}
    return GuestSpec(server_id=str(uuid.uuid4()), fence=1, version=1, power="running", fake=words)


async def codes(driver: FakeVirt, spec: GuestSpec, count: int) -> list[str]:
    found = []
    for _ in range(count):
        try:
            await driver.power_on(spec.server_id)
            found.append("ok")
        except DriverError as error:
            found.append(error.code)
    return found


async def test_a_guest_can_be_told_to_fail_a_few_times_or_always() -> None:
    driver = FakeVirt()
    twice, ever = guest(fail__power_on="2", fail__power_on__code="no_memory"), guest(fail__power_on="always")
    for spec in (twice, ever):
        await driver.define(spec, (), ())
    assert await codes(driver, twice, 4) == ["no_memory", "no_memory", "ok", "ok"]
    assert await codes(driver, ever, 3) == ["driver"] * 3


async def test_define_itself_can_be_told_to_fail() -> None:
    driver, spec = FakeVirt(), guest(fail__define="1")
    with pytest.raises(DriverError):
        await driver.define(spec, (), ())
    assert await driver.list() == ()
    await driver.define(spec, (), ())
    assert len(await driver.list()) == 1


async def test_a_host_can_be_told_to_fail_and_to_be_slow() -> None:
    clock, spec = HastyClock(), guest(delay__power_on="1.5")
    script = FakeScript(delays={"power_on": 2.0})
    driver = FakeVirt(script=script, clock=clock)
    await driver.define(spec, (), ())
    script.fail_next("power_on", 1, "driver")
    assert await codes(driver, spec, 2) == ["driver", "ok"]
    assert clock.seconds == 2.0 + 2.0 + 1.5


async def test_chances_repeat_with_the_same_dice() -> None:
    runs = []
    for _ in range(2):
        driver, spec = FakeVirt(script=FakeScript(failures={"power_on": 0.5}, random=random.Random(7))), guest()
        await driver.define(spec, (), ())
        runs.append(await codes(driver, spec, 40))
    assert runs[0] == runs[1]
    assert 5 < runs[0].count("driver") < 35


async def test_a_script_that_is_no_number_is_an_error_not_a_crash() -> None:
    driver = FakeVirt()
    with pytest.raises(DriverError, match="no number"):
        await driver.define(guest(delay__define="soon"), (), ())


async def test_a_guest_may_ignore_requests_for_as_long_as_one_waits() -> None:
    clock, spec = HastyClock(), guest(shutdown="ignore", reboot="ignore")
    driver = FakeVirt(clock=clock)
    await driver.define(spec, (), ())
    await driver.power_on(spec.server_id)
    assert not await driver.shutdown(spec.server_id, 30)
    assert not await driver.reboot_soft(spec.server_id, 10)
    assert clock.seconds == 40


async def test_guests_survive_a_driver_that_was_killed(tmp_path: Path) -> None:
    driver, kept, gone = FakeVirt(state_dir=tmp_path), guest(), guest()
    await driver.start()
    for spec in (kept, gone):
        await driver.define(spec, (), ())
        await driver.power_on(spec.server_id)
    await driver.power_off(gone.server_id)
    await driver.undefine(gone.server_id)
    before = (await driver.list(), await driver.console_output(kept.server_id, 9999))
    with (tmp_path / "guests.jsonl").open("ab") as file:
        file.write(b'{"starts": 9, "gue')
    # Not closed: killed.
    successor = FakeVirt(state_dir=tmp_path)
    await successor.start()
    assert (await successor.list(), await successor.console_output(kept.server_id, 9999)) == before
    await successor.power_off(kept.server_id)
    await successor.power_on(kept.server_id)
    assert (await successor.list())[0].start != before[0][0].start
    await successor.close()


async def test_the_journal_stays_small(tmp_path: Path) -> None:
    driver, spec = FakeVirt(state_dir=tmp_path), guest()
    await driver.start()
    await driver.define(spec, (), ())
    for _ in range(3000):
        await driver.power_on(spec.server_id)
        await driver.power_off(spec.server_id)
    assert len((tmp_path / "guests.jsonl").read_bytes().splitlines()) < 4200
    journal = FakeJournal(tmp_path)
    journal.open()
    assert (journal.starts, journal.guests[spec.server_id].boots) == (3000, 3000)
    journal.close()
    await driver.close()


async def test_a_directory_that_cannot_be_made_is_an_error_of_the_driver(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DriverError) as refused:
        await FakeVirt(state_dir=tmp_path / "file" / "host").start()
    assert refused.value.code == "driver"
