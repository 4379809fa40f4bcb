"""Every flow of servers, on what the flows need."""

from __future__ import annotations

from typing import Protocol

from kilonova.cloud.flow import (
    server_create,
    server_delete,
    server_image,
    server_interface,
    server_live_migrate,
    server_resize,
    server_shelve,
)
from kilonova.cloud.flow.server_confirm import ServerConfirm
from kilonova.cloud.flow.server_create import ServerCreate
from kilonova.cloud.flow.server_delete import ServerDelete
from kilonova.cloud.flow.server_evacuate import ServerEvacuate
from kilonova.cloud.flow.server_image import ServerBackup, ServerImage
from kilonova.cloud.flow.server_interface import ServerAttachInterface, ServerDetachInterface
from kilonova.cloud.flow.server_live_migrate import ServerLiveMigrate
from kilonova.cloud.flow.server_pause import ServerPause
from kilonova.cloud.flow.server_reboot import ServerReboot
from kilonova.cloud.flow.server_rebuild import ServerRebuild
from kilonova.cloud.flow.server_rescue import ServerRescue
from kilonova.cloud.flow.server_resize import ServerResize
from kilonova.cloud.flow.server_restore import ServerRestore
from kilonova.cloud.flow.server_resume import ServerResume
from kilonova.cloud.flow.server_revert import ServerRevert
from kilonova.cloud.flow.server_shelve import ServerShelve
from kilonova.cloud.flow.server_soft_delete import ServerSoftDelete
from kilonova.cloud.flow.server_start import ServerStart
from kilonova.cloud.flow.server_stop import ServerStop
from kilonova.cloud.flow.server_suspend import ServerSuspend
from kilonova.cloud.flow.server_unpause import ServerUnpause
from kilonova.cloud.flow.server_unrescue import ServerUnrescue
from kilonova.cloud.flow.server_unshelve import ServerUnshelve
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.placement import Placement
from kilonova.kit.db import Database
from kilonova.kit.ops import Flow


class Network(
    server_create.Network, server_delete.Network, server_live_migrate.Network, server_interface.Network, Protocol
):
    """The part of the network service that servers need."""


class Images(server_delete.Images, server_image.Images, server_resize.Images, server_shelve.Images, Protocol):
    """The part of the image service that servers need."""


def server_flows(
    db: Database,
    placement: Placement,
    network: Network,
    attachments: server_interface.Attachments,
    images: Images,
    nodes: Nodes,
) -> list[Flow]:
    """One of each."""
    on_one_host = (
        ServerStart, ServerStop, ServerReboot, ServerPause, ServerUnpause, ServerSuspend, ServerResume, ServerRescue,
        ServerUnrescue, ServerRebuild, ServerConfirm, ServerSoftDelete, ServerRestore,
    )  # fmt: skip
    return [
        ServerCreate(db, placement, network, nodes),
        ServerDelete(db, network, images, nodes),
        ServerResize(db, placement, network, images, nodes),
        ServerRevert(db, network, nodes),
        ServerImage(db, images, nodes),
        ServerShelve(db, network, images, nodes),
        ServerUnshelve(db, placement, network, images, nodes),
        ServerEvacuate(db, placement, network, nodes),
        ServerLiveMigrate(db, placement, network, nodes),
        ServerBackup(db, images, nodes),
        ServerAttachInterface(db, network, attachments, nodes),
        ServerDetachInterface(db, network, attachments, nodes),
        *(flow(db, nodes) for flow in on_one_host),
    ]
