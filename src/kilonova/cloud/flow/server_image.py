"""Making an image of a server's disk: its host gives a copy, as of one moment, and the image service takes it in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from kilonova.cloud.flow.power import POWERS, PowerFlow
from kilonova.cloud.server.model import Guest, Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.core.errors import Failure
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Run


class Images(Protocol):
    """The part of the image service that servers need."""

    def withdraw(self, tx: Tx, image_id: str) -> None:
        """Forget an image, if it is still there."""

    def rotate(self, tx: Tx, owner: str, properties: Mapping[str, str], keep: int) -> None:
        """Forget an owner's images with these properties but the `keep` newest."""


class ServerImage(PowerFlow):
    """Frame: `image` (the id of the queued record), `phase` (the server's, which stays)."""

    name: ClassVar[str] = "server_image"
    event: ClassVar[str] = "compute_snapshot_instance"
    arrival: ClassVar[str] = "return"
    deadline: ClassVar[float] = 600.0

    def __init__(self, db: Database, images: Images, nodes: Nodes) -> None:
        super().__init__(db, nodes)
        self._images = images

    def power(self, frame: Mapping[str, Any]) -> str:
        return POWERS.get(frame["phase"], "stopped")

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"deposits": guest.spec.deposits + 1, "deposit_to": frame["image"]}

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        self._images.withdraw(tx, run.frame["image"])
        super().failed(tx, run, failure)


class ServerBackup(ServerImage):
    """Frame: as server_image, and `rotation` (how many backups of a type stay), `properties` (what they share)."""

    name: ClassVar[str] = "server_backup"
    event: ClassVar[str] = "compute_backup_instance"

    def arrived(self, tx: Tx, server: Server, run: Run) -> dict[str, Any]:
        self._images.rotate(tx, server.project_id, run.frame["properties"], run.frame["rotation"])
        return {}
