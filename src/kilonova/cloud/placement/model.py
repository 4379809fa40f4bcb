"""Providers, what they have, and who uses it. Memory in MiB, disk in GiB, times in µs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from kilonova.kit.db import Tx

VCPU: Final = "VCPU"
MEMORY: Final = "MEMORY_MB"
DISK: Final = "DISK_GB"
HOST_CLASSES: Final = (VCPU, MEMORY, DISK)
"""What a host gives to servers. Its inventories of these are views of the host, its allocations views of the claims."""

SHARES: Final = "MISC_SHARES_VIA_AGGREGATE"
"""The trait of a provider whose inventory serves every tree that it has an aggregate in common with."""

DISABLED: Final = "COMPUTE_STATUS_DISABLED"
"""The trait of a host that takes no servers now; a view of the host."""

INSTANCE: Final = "INSTANCE"
UNKNOWN: Final = "unknown"
EVERYTHING: Final = "all"
NOBODY: Final = "00000000-0000-0000-0000-000000000000"
"""Project and user of a consumer whose writer did not say (before 1.8)."""

MAX_INT: Final = 2**31 - 1
MOST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider. `generation` rises with every change that its writers shall notice. `is_host`: a view of a host of
    this cloud, whose name and place are not for others to change."""

    id: str
    name: str
    parent_id: str | None
    root_id: str
    generation: int
    is_host: bool
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a provider has of one resource class, as its writer says."""

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = MAX_INT
    step_size: int = 1
    allocation_ratio: float = 1.0

    @property
    def capacity(self) -> int:
        """How much of it may be used."""
        return int(min((self.total - self.reserved) * self.allocation_ratio, MOST))

    def takes(self, amount: int) -> bool:
        """Whether `amount` is a size in which it is given out."""
        return self.min_unit <= amount <= self.max_unit and amount % self.step_size == 0


@dataclass(frozen=True, slots=True)
class Stock:
    """An inventory, how much may be used in all, and how much is."""

    inventory: Inventory
    capacity: int
    used: int
    updated_at: int = 0

    def has(self, amount: int) -> bool:
        """Whether `amount` more could be given out."""
        return self.inventory.takes(amount) and self.used + amount <= self.capacity


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who uses resources. `generation` rises with each change of what it uses; `type` None is not known.
    `is_server`: a server of this cloud, whose allocations are the cloud's own business."""

    id: str
    project_id: str
    user_id: str
    type: str | None
    generation: int
    is_server: bool = False


@dataclass(frozen=True, slots=True)
class Allocation:
    """How much of a resource class a consumer has of a provider."""

    consumer_id: str
    provider_id: str
    resource_class: str
    amount: int
    created_at: int = 0


Amounts = Mapping[str, Mapping[str, int]]
"""Provider → resource class → amount."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a consumer shall have from now on. `generation`: the one that its writer knows (None: there is no such
    consumer yet), where `guarded`. `type` None leaves it as it is."""

    amounts: Amounts
    project_id: str = NOBODY
    user_id: str = NOBODY
    type: str | None = None
    generation: int | None = None
    guarded: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What consumers use in all, by resource class, and how many they are."""

    amounts: Mapping[str, int] = field(default_factory=dict)
    consumers: int = 0


class Servers(Protocol):
    """What the cloud's servers are as consumers."""

    def owners(self, tx: Tx, server_ids: Collection[str]) -> Mapping[str, Consumer]:
        """Those of these that are servers."""

    def usage(self, tx: Tx, project_id: str, user_id: str | None) -> Usage:
        """What the claims of a project's (and user's) servers sum up to."""
