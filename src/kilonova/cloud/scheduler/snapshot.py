"""What the scheduler knows of all hosts, as arrays. A cache: the claim decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kilonova.cloud.host.model import Host

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


class Snapshot:
    """Hosts by position; `update` replaces or adds the given ones. Free numbers may be negative (ratio lowered)."""

    def __init__(self, hosts: Iterable[Host] = ()) -> None:
        self.ids: list[str] = []
        self.names: list[str] = []
        self.zones: list[str] = []
        self._position: dict[str, int] = {}
        self._columns: dict[str, npt.NDArray[Any]] = {
            name: np.zeros(0, dtype=np.int64)
            for name in ("vcpus_free", "memory_free", "disk_free", "memory_capacity", "overhead", "up", "enabled")
        }
        self.version = 0
        self.gatherings: tuple[tuple[Mapping[str, str], Mask], ...] = ()
        self.update(hosts)

    def __len__(self) -> int:
        return len(self.ids)

    def update(self, hosts: Iterable[Host]) -> None:
        """Take in hosts as they are now."""
        changed = list(hosts)
        fresh = [h for h in changed if h.id not in self._position]
        if fresh:
            self._grow(fresh)
        for host in changed:
            self._store(self._position[host.id], host)
            self.version = max(self.version, host.version)

    def deduct(self, host_id: str, vcpus: int, memory_mb: int, disk_gb: int) -> None:
        """Count a claim just made until the host is read again."""
        if (at := self._position.get(host_id)) is not None:
            self._columns["vcpus_free"][at] -= vcpus
            self._columns["memory_free"][at] -= memory_mb + self._columns["overhead"][at]
            self._columns["disk_free"][at] -= disk_gb

    def _grow(self, fresh: list[Host]) -> None:
        for host in fresh:
            self._position[host.id] = len(self.ids)
            self.ids.append(host.id)
            self.names.append(host.name)
            self.zones.append(host.zone)
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate([column, np.zeros(len(fresh), dtype=np.int64)])

    def _store(self, at: int, host: Host) -> None:
        column = self._columns
        column["vcpus_free"][at] = host.vcpus_capacity - host.vcpus_used
        column["memory_free"][at] = host.memory_capacity - host.memory_used
        column["disk_free"][at] = host.disk_capacity - host.disk_used
        column["memory_capacity"][at] = host.memory_capacity
        column["overhead"][at] = host.memory_overhead
        column["up"][at] = host.up
        column["enabled"][at] = host.enabled
        self.names[at] = host.name
        self.zones[at] = host.zone

    def gather(self, aggregates: Iterable[tuple[Mapping[str, str], Iterable[str]]]) -> None:
        """Take in the aggregates, as (metadata, ids of hosts): only those that say something and have hosts."""
        self.gatherings = tuple((items, self.mask(ids)) for items, ids in aggregates if items)

    def mask(self, host_ids: Iterable[str]) -> Mask:
        """Where these hosts are."""
        found = np.zeros(len(self), dtype=np.bool_)
        found[[self._position[i] for i in host_ids if i in self._position]] = True
        return found

    def position(self, host_id: str) -> int | None:
        """The place of a host, None for an unknown one."""
        return self._position.get(host_id)

    def column(self, name: str) -> Numbers:
        """One number a host: vcpus_free, memory_free, disk_free (MiB, GiB), memory_capacity, overhead, up, enabled."""
        return self._columns[name]
