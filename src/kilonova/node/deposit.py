"""Handing a copy of a guest's disk to the control plane, where it becomes an image."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from kilonova.core.ids import new_uuid
from kilonova.node.control import Control
from kilonova.node.driver.block.port import BlockDriver
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.virt.port import DiskCopier
from kilonova.wire.guest import GuestSpec
from kilonova.wire.node import DepositChunk

ATTEMPTS: Final = 3


async def deposit(
    host_id: str,
    control: Control,
    block: BlockDriver,
    copier: DiskCopier | None,
    spec: GuestSpec,
    stage: Callable[[str, int], None],
) -> None:
    """Give the control plane the guest's root disk as it is at one moment, by `copier` while the guest runs.

    Raises DriverError `image_refused` when it is not wanted any more or too large, Unavailable (try again).
    """
    for attempt in range(ATTEMPTS):
        copy = new_uuid()
        async with aclosing(block.export(spec, copier)) as parts:
            again = False
            async for part in parts:
                answer = await control.deposit(
                    DepositChunk(
                        host_id=host_id, server_id=spec.server_id, image_id=spec.deposit_to, copy=copy,
                        disk_format=part.disk_format, offset=part.offset, size=part.size, data=part.data,
                    )
                )  # fmt: skip
                if answer.error and not (answer.again and attempt < ATTEMPTS - 1):
                    raise DriverError("image_refused", answer.error)
                again = bool(answer.error)
                if again:
                    break
                stage("deposit", (part.offset + len(part.data)) * 100 // max(1, part.size))
            if not again:
                return
