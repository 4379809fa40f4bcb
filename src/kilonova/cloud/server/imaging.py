"""Images of servers: what a copy of a server's disk is called, and what it inherits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from kilonova.cloud.image.model import Image, NewImage
from kilonova.cloud.server.command import Act, Commands
from kilonova.cloud.server.model import Server
from kilonova.core.context import Context, Scope
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops.start import Operations

NOT_INHERITED: Final = frozenset(
    {"cache_in_nova", "bittorrent", "img_signature_hash_method", "img_signature", "img_signature_key_type"}
    | {"img_signature_certificate_uuid", "auto_disk_config", "image_type", "backup_type", "instance_uuid", "user_id"}
    | {"base_image_ref", "image_location", "image_state", "owner_specified.openstack.md5"}
    | {"owner_specified.openstack.sha256", "owner_specified.openstack.object", "stores", "os_hash_algo"}
)
"""What Nova's `non_inheritable_image_properties` and the facts of one image name."""


class Images(Protocol):
    """The part of the image service that servers need."""

    def draft(self, tx: Tx, owner: str, wanted: NewImage) -> Image:
        """A new record, queued for its bytes. Raises QuotaExceeded, TooLarge."""


class ServerImages:
    """Commands that make images of servers; see `ServerActions` for what they raise."""

    def __init__(self, db: Database, operations: Operations, images: Images) -> None:
        self._commands = Commands(db, operations)
        self._images = images

    async def create(
        self, context: Context, scope: Scope, server_id: str, name: str, metadata: Mapping[str, str]
    ) -> str:
        """Begin to make an image of a server's disk; answers its id. Raises QuotaExceeded too."""
        act = Act("image", action="createImage")
        return await self._make(context, scope, server_id, act, name, {**metadata}, {"image_type": "snapshot"})

    async def backup(
        self,
        context: Context,
        scope: Scope,
        server_id: str,
        name: str,
        kind: str,
        rotation: int,
        metadata: Mapping[str, str],
    ) -> str:
        """As `create`; of all such backups of one kind, only the `rotation` newest stay."""
        what = {"image_type": "backup", "backup_type": kind}
        same = {**what, "instance_uuid": server_id}
        act = Act("backup", action="createBackup", frame={"rotation": rotation, "properties": same})
        return await self._make(context, scope, server_id, act, name, {**metadata}, what)

    async def _make(
        self,
        context: Context,
        scope: Scope,
        server_id: str,
        act: Act,
        name: str,
        metadata: dict[str, str],
        what: dict[str, str],
    ) -> str:
        made = ""

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            nonlocal made
            image = self._images.draft(tx, server.project_id, describe(server, name, {**metadata, **what}))
            made = image.id
            return {}, {"image": made, "phase": server.phase}

        await self._commands.act(context, scope, server_id, act, prepare)
        return made


def describe(server: Server, name: str, properties: Mapping[str, str]) -> NewImage:
    """The record of an image of a server: what its own image says, then what is asked for, then what it is."""
    base = server.image.get("properties") or {}
    inherited = {key: value for key, value in base.items() if key not in NOT_INHERITED}
    own = {
        "instance_uuid": server.id,
        "user_id": server.user_id,
        "base_image_ref": server.image_id,
        "image_location": "snapshot",
        "image_state": "available",
    }
    return NewImage(
        name, visibility="private", min_disk=server.flavor.root_gb, properties={**inherited, **own, **properties}
    )
