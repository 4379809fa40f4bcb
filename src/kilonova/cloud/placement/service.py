"""Placement's services, together."""

from __future__ import annotations

from kilonova.cloud.placement.allocation_service import AllocationService
from kilonova.cloud.placement.inventory_service import InventoryService
from kilonova.cloud.placement.model import Servers
from kilonova.cloud.placement.provider_service import ProviderService
from kilonova.cloud.placement.vocabulary_service import VocabularyService
from kilonova.core.ids import NewId, new_uuid
from kilonova.kit.db import Database


class PlacementServices:
    """What the Placement API stands on. `servers` tells which consumers are servers of this cloud."""

    def __init__(self, db: Database, servers: Servers, new_id: NewId = new_uuid) -> None:
        self.providers = ProviderService(db, new_id)
        self.inventories = InventoryService(db)
        self.allocations = AllocationService(db, servers)
        self.vocabulary = VocabularyService(db)
