"""A host as the control plane knows it. Memory in MiB, disk in GiB."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """How far a host's resources may be given out beyond what it has."""

    vcpus: float = 4.0
    memory: float = 1.0
    disk: float = 1.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What one guest takes from a host, its overhead included."""

    vcpus: int
    memory_mb: int
    disk_gb: int


@dataclass(frozen=True, slots=True)
class Host:
    """One row. Capacities are what may be claimed (ratio applied), totals what there is."""

    id: str
    name: str
    up: bool
    enabled: bool
    zone: str
    boot_id: str
    incarnation: str
    hypervisor_type: str
    hypervisor_version: int
    architecture: str
    cpu_info: str
    vcpus_total: int
    memory_total: int
    disk_total: int
    vcpus_capacity: int
    memory_capacity: int
    disk_capacity: int
    memory_overhead: int
    vcpus_used: int
    memory_used: int
    disk_used: int
    report_seq: int
    version: int
    created_at: int
    updated_at: int
    disabled_reason: str
    forced_down: bool = False
    booted_at: int = 0


@dataclass(frozen=True, slots=True)
class Debt:
    """A guest that a host still holds although its server is gone; the node clears it before it takes new work."""

    host_id: str
    server_id: str
    fence: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What a consumer holds of a host, its overhead included."""

    host_id: str
    consumer: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    created_at: int
