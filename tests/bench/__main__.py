"""`python -m tests.bench`: measure, print the table. A budget that is exceeded is printed, never a failure."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
import uvloop
from tests.bench import (
    action,
    boot,
    crash,
    drain,
    figure,
    guest,
    identity,
    image,
    listing,
    network,
    node_network,
    scheduler,
    start,
)
from tests.bench.figure import Figure

GROUPS: dict[str, Callable[[], AsyncIterator[Figure]]] = {
    module.GROUP: module.measure
    for module in (start, identity, scheduler, listing, network, boot, action, drain, crash, image, guest, node_network)
}


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; 1 only when something could not be measured."""
    parser = argparse.ArgumentParser("python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(GROUPS), action="append", help="one group (may be repeated)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    figures, failed = uvloop.run(_measure(options.only or list(GROUPS)))
    sys.stdout.write("\n" + figure.table(figures) + "\n")
    if options.json:
        rows = [{**asdict(one), "verdict": one.verdict} for one in figures]
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")
    return 1 if failed else 0


async def _measure(groups: Sequence[str]) -> tuple[list[Figure], bool]:
    figures: list[Figure] = []
    failed = False
    for group in groups:
        sys.stderr.write(f"→ {group}\n")
        try:
            async for one in GROUPS[group]():
                figures.append(one)
                sys.stderr.write(f"  {one.name}: {figure.number(one.value)} {one.unit} {one.verdict}\n")
        except (TimeoutError, RuntimeError, OSError, AssertionError):
            failed = True
            traceback.print_exc()
    return figures, failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
