"""Constraints: a few lines over arrays each. A filter answers which hosts pass, and how near the best other one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from kilonova.cloud.scheduler.gathering import admits_project, has_specs, suits_image
from kilonova.cloud.scheduler.query import evaluate
from kilonova.cloud.scheduler.snapshot import Mask, Snapshot


@dataclass(frozen=True, slots=True)
class Wish:
    """What one server asks for by name: only these hosts, none of these, those that meet a query, or some rather than
    others (`liking`: more is better)."""

    name: str
    among: frozenset[str] | None = None
    without: frozenset[str] = frozenset()
    query: str = ""
    liking: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. Memory in MiB (without the host's overhead), disk in GiB. `among`: the hosts that can give
    what is asked for beside that (None: nothing is); `miss`: why others cannot. `wishes` are asked last.
    `specs` are the flavor's, `image` the image's properties: aggregates may say something of them."""

    vcpus: int
    memory_mb: int
    disk_gb: int
    zone: str | None = None
    host: str | None = None
    exclude: frozenset[str] = frozenset()
    among: frozenset[str] | None = None
    miss: str = ""
    wishes: tuple[Wish, ...] = ()
    project_id: str = ""
    specs: Mapping[str, str] = field(default_factory=dict)
    image: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Filter:
    """A named constraint. `passes` is a mask over the snapshot; `nearest` tells the nearest miss among `left`."""

    name: str
    passes: Callable[[Snapshot, Request], Mask]
    nearest: Callable[[Snapshot, Request, Mask], str]


def _none(snapshot: Snapshot, request: Request, left: Mask) -> str:
    return ""


def _most(column: str, unit: str, wanted: Callable[[Request], int]) -> Callable[[Snapshot, Request, Mask], str]:
    def tell(snapshot: Snapshot, request: Request, left: Mask) -> str:
        free = int(np.max(snapshot.column(column)[left]))
        return f"{max(free, 0)} {unit} free, {wanted(request)} needed"

    return tell


def _nearest_memory(snapshot: Snapshot, request: Request, left: Mask) -> str:
    free = int(np.max((snapshot.column("memory_free") - snapshot.column("overhead"))[left]))
    return f"{max(free, 0)} MiB free, {request.memory_mb} needed"


def _in_zone(snapshot: Snapshot, request: Request) -> Mask:
    if request.zone is None:
        return np.ones(len(snapshot), dtype=np.bool_)
    return np.fromiter((z == request.zone for z in snapshot.zones), dtype=np.bool_, count=len(snapshot))


def _is_host(snapshot: Snapshot, request: Request) -> Mask:
    wanted = request.host
    if wanted is None:
        return np.ones(len(snapshot), dtype=np.bool_)
    pairs = zip(snapshot.ids, snapshot.names, strict=True)
    return np.fromiter((wanted in pair for pair in pairs), dtype=np.bool_, count=len(snapshot))


def _not_excluded(snapshot: Snapshot, request: Request) -> Mask:
    if not request.exclude:
        return np.ones(len(snapshot), dtype=np.bool_)
    return np.fromiter((i not in request.exclude for i in snapshot.ids), dtype=np.bool_, count=len(snapshot))


def _is_among(snapshot: Snapshot, request: Request) -> Mask:
    if request.among is None:
        return np.ones(len(snapshot), dtype=np.bool_)
    return np.fromiter((i in request.among for i in snapshot.ids), dtype=np.bool_, count=len(snapshot))


def meets(snapshot: Snapshot, wish: Wish) -> Mask:
    """The hosts that a wish leaves."""
    left = np.ones(len(snapshot), dtype=np.bool_)
    if wish.among is not None:
        left &= snapshot.mask(wish.among)
    if wish.without:
        left &= ~snapshot.mask(wish.without)
    return left & evaluate(wish.query, snapshot) if wish.query else left


FILTERS: Final[tuple[Filter, ...]] = (
    Filter("host is up", lambda s, _: s.column("up") > 0, _none),
    Filter("host is enabled", lambda s, _: s.column("enabled") > 0, _none),
    Filter("requested host", _is_host, _none),
    Filter("availability zone", _in_zone, _none),
    Filter("already tried", _not_excluded, _none),
    Filter("vCPUs", lambda s, r: s.column("vcpus_free") >= r.vcpus, _most("vcpus_free", "vCPUs", lambda r: r.vcpus)),
    Filter(
        "memory",
        lambda s, r: s.column("memory_free") >= r.memory_mb + s.column("overhead"),
        _nearest_memory,
    ),
    Filter("disk", lambda s, r: s.column("disk_free") >= r.disk_gb, _most("disk_free", "GiB", lambda r: r.disk_gb)),
    Filter("aggregates' projects", lambda s, r: admits_project(s, r.project_id), _none),
    Filter("aggregates' extra specs", lambda s, r: has_specs(s, r.specs), _none),
    Filter("aggregates' image properties", lambda s, r: suits_image(s, r.image), _none),
    Filter("resources and traits", _is_among, lambda s, r, _: r.miss),
)
"""In the order in which they are asked: a host is counted by the first one that removes it."""
