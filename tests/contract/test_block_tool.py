"""Programs that the file driver runs: bounded, unprivileged, and gone with who asked for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from block_world import NOBODY, ROOT

from kilonova.node.driver.block.tool import Account, Limit, run
from kilonova.node.driver.failure import DriverError


def running(marker: str) -> list[int]:
    """Processes whose command line holds the marker."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


async def test_limits_hold_inside() -> None:
    out = await run(("prlimit", "--raw", "--noheadings", "--output=RESOURCE,HARD"), Limit(memory=1 << 28, cpu=7))
    limits = dict(line.split() for line in out.decode().splitlines())
    assert (limits["AS"], limits["CPU"], limits["CORE"]) == (str(1 << 28), "7", "0")


@pytest.mark.skipif(not ROOT, reason="only root can become someone else")
async def test_reader_has_no_rights() -> None:
    status = (await run(("cat", "/proc/self/status"), Limit(), Account(NOBODY, NOBODY))).decode()
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert fields["Uid"].split() == [str(NOBODY)] * 4
    assert fields["Groups"].strip() == ""
    assert (int(fields["CapEff"], 16), int(fields["CapBnd"], 16), fields["NoNewPrivs"]) == (0, 0, "1")


@pytest.mark.parametrize(
    ("command", "limit"),
    [(("sleep", "31.415926"), Limit(wall=0.2)), (("yes", "31.415926"), Limit()), (("false",), Limit())],
    ids=["slow", "talkative", "failing"],
)
async def test_failure_is_told_and_nothing_runs_on(command: tuple[str, ...], limit: Limit) -> None:
    with pytest.raises(DriverError) as caught:
        await run(command, limit)
    assert caught.value.code == "driver"
    assert running("31.415926") == []


async def test_program_that_is_not_installed() -> None:
    with pytest.raises(DriverError) as caught:
        await run(("kilonova-no-such-program",), Limit())
    assert "kilonova-no-such-program" in caught.value.detail


async def test_program_dies_with_a_cancelled_caller() -> None:
    task = asyncio.create_task(run(("sleep", "27.182818"), Limit()))
    while not running("27.182818"):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert running("27.182818") == []
