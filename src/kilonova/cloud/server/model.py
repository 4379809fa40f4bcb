"""A server and its guest on a host. Edges map phases (see `phase`) to their dialect's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from kilonova.wire.guest import GuestError, GuestObservation, GuestSpec


class FlavorCopy(msgspec.Struct, frozen=True, kw_only=True):
    """The flavor as it was when the server was made. Memory and swap in MiB, disks in GiB."""

    id: str
    name: str
    vcpus: int
    memory_mb: int
    root_gb: int
    ephemeral_gb: int = 0
    swap_mb: int = 0
    extra_specs: dict[str, str] = {}
    description: str | None = None

    @property
    def is_portable(self) -> bool:
        """Whether a copy of its root disk is all that another host needs: ephemeral disks are not copied."""
        return not self.ephemeral_gb


class KeyCopy(msgspec.Struct, frozen=True, kw_only=True):
    """The key pair as it was when the server was made."""

    name: str
    public_key: str
    type: str = "ssh"


class NicView(msgspec.Struct, frozen=True, kw_only=True):
    """A server's view of one NIC; addresses as (subnet, address, IP version); `floating`: (address, outside one)."""

    port_id: str
    network_id: str
    network_label: str
    mac: str
    addresses: tuple[tuple[str, str, int], ...] = ()
    floating: tuple[tuple[str, str], ...] = ()


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """What a server was before a resize or a move: its flavor, phase and host. `mark` is the name under which its disk
    is kept; where it left its host, it is that host's guest which is kept."""

    flavor: FlavorCopy
    phase: str
    host_id: str
    host_name: str
    mark: str
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """One server. Times in µs, 0 for not yet. `image` is a wire.guest.ImageRef as JSON.

    `locked_by` is `owner` or `admin`. `before` is what a resize can return to. `shelved` is the image (an ImageRef too)
    that has the disk of a shelved server.
    """

    id: str
    ec2_id: str
    project_id: str
    user_id: str
    name: str
    description: str | None
    hostname: str
    phase: str
    fence: int
    version: int
    host_id: str | None
    host_name: str
    zone: str
    requested_zone: str | None
    flavor: FlavorCopy
    image_id: str
    image: dict[str, Any]
    key: KeyCopy | None
    user_data: str
    config_drive: bool
    metadata: dict[str, str]
    nics: tuple[NicView, ...]
    security_groups: tuple[str, ...]
    admin_password: str
    reservation_id: str
    launch_index: int
    power: str
    fault: dict[str, Any] | None
    locked: bool
    created_at: int
    updated_at: int
    launched_at: int
    terminated_at: int
    locked_by: str = ""
    locked_reason: str | None = None
    before: Before | None = None
    shelved: dict[str, Any] | None = None
    tags: tuple[str, ...] = ()
    access_ip4: str = ""
    access_ip6: str = ""
    group_id: str | None = None
    hints: dict[str, Any] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()
    password: str = ""

    @property
    def deleted(self) -> bool:
        return self.terminated_at > 0


@dataclass(frozen=True, slots=True)
class Guest:
    """What a host shall make of a server, and what it last reported. `seen` rises with each report."""

    host_id: str
    server_id: str
    spec: GuestSpec
    observed: GuestObservation | None
    seen: int
    host_up: bool

    @property
    def error(self) -> GuestError | None:
        return self.observed.error if self.observed else None

    def reached(self) -> bool:
        """Whether the host has done (or given up on) the present version of the spec."""
        o = self.observed
        return o is not None and o.settled and o.fence == self.spec.fence and o.version >= self.spec.version


@dataclass(frozen=True, slots=True)
class Group:
    """A server group. `most` is how many of it may be on one host (anti-affinity)."""

    id: str
    project_id: str
    user_id: str
    name: str
    policy: str
    most: int
    created_at: int
    members: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return len(self.members)


@dataclass(frozen=True, slots=True)
class Migration:
    """A move of a server. `kind` and `status` are Nova's words, `source` and `dest` names of hosts; times in µs."""

    id: int
    uuid: str
    server_id: str
    project_id: str
    user_id: str
    kind: str
    status: str
    source: str
    dest: str
    old_flavor: str
    new_flavor: str
    created_at: int
    updated_at: int


RebootKind = Literal["SOFT", "HARD"]


@dataclass(frozen=True, slots=True)
class Repeat:
    """What makes a request the same as an earlier one: the caller's key, and a hash of what it asked, as it asked."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class NewServer:
    """What a caller asks for, checked and resolved by the edge and the services below it. `nics` is opaque here."""

    name: str
    flavor: FlavorCopy
    image_id: str
    image: dict[str, Any]
    nics: Any
    security_groups: tuple[str, ...] = ()
    key: KeyCopy | None = None
    user_data: str = ""
    config_drive: bool = False
    metadata: tuple[tuple[str, str], ...] = ()
    zone: str | None = None
    host: str | None = None
    description: str | None = None
    hostname: str | None = None
    admin_password: str = ""
    access_ip4: str = ""
    access_ip6: str = ""
    tags: tuple[str, ...] = ()
    group_id: str | None = None
    hints: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()
    min_count: int = 1
    max_count: int = 1
