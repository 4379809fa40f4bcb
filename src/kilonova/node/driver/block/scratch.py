"""Empty disks that a flavor brings along: sparse raw files with a file system or swap space on them."""

from __future__ import annotations

import os
from pathlib import Path

from kilonova.node.driver.block.tool import Limit, run


async def make_ephemeral(path: Path, size: int) -> None:
    """Grow the empty file to `size` bytes of ext4, labelled as guests expect to find their first ephemeral disk."""
    os.truncate(path, size)
    options = ("-q", "-F", "-t", "ext4", "-L", "ephemeral0", "-E", "lazy_itable_init=1,lazy_journal_init=1")
    await run(("mke2fs", *options, str(path)), Limit())


async def make_swap(path: Path, size: int) -> None:
    """Grow the empty file to `size` bytes of swap space."""
    os.truncate(path, size)
    await run(("mkswap", "-L", "swap0", str(path)), Limit())
