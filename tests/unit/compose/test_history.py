"""History goes when its days are over."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilonova.cloud.image.model import NewImage
from kilonova.compose.control import Control
from kilonova.core.context import Context
from kilonova.core.errors import Conflict
from kilonova.kit.clock import SystemClock, VirtualClock
from kilonova.kit.db import metadata, open_database
from kilonova.settings import Settings
from kilonova.state import StateDir

ANN = Context("ann", "ann", frozenset({"member"}), "req-1")


async def test_the_history_of_an_image_is_pruned(tmp_path: Path) -> None:
    clock, state = VirtualClock(), StateDir(tmp_path)
    cloud_id = state.prepare()
    db = await open_database(f"sqlite:///{state.database}", clock)
    try:
        await db.write(lambda tx: metadata.create_all(tx.connection))
        control = Control(Settings(state=tmp_path, driver="fake", history_days=2), state, cloud_id, db, SystemClock())
        [prune] = [work for name, _, work in control.sweeps() if name == "history"]
        image = await control.images.create(ANN, NewImage(name="i"))
        await control.images.delete(ANN, image.id)
        clock.advance(86400)
        await prune()
        with pytest.raises(Conflict):
            await control.images.create(ANN, NewImage(id=image.id))
        clock.advance(2 * 86400)
        await prune()
        await control.images.create(ANN, NewImage(id=image.id))
    finally:
        await db.close()
