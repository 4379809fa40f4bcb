"""The conversation between a node and the control plane. The node dials; the control plane hints and answers.

node → control  `hello`   once per start of the agent, with what the host has
node → control  `report`  observations in per-host sequence, sent again until acknowledged
node → control  `digest`  each 10 s ± jitter: a hash of what the node holds; the answer is what it should hold
node → control  `fetch`   the documents that it lacks
node → control  `ticket`  where the bytes of an image are
node → control  `deposit` parts of a copy of a guest's disk, in order, each answered before the next one
control → node  `nudge`   a hint that desired state changed, with the changed guests; its loss costs a digest interval
control → node  `ask`     a question to a running node: console output, or its real world for the audit
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

import msgspec

from kilonova.wire.guest import GuestObservation, GuestSpec
from kilonova.wire.network import AddressSetDoc, NetworkDoc, PortDoc, RouterDoc

ConsoleKind = Literal["vnc", "serial"]
DocKind = Literal["guest", "network", "router", "port", "address_set"]


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What a host has to give, after its own reserve. Memory in MiB, disk in GiB.

    `memory_overhead_mb` is what each guest costs beside its own memory.
    """

    vcpus: int
    memory_mb: int
    disk_gb: int
    memory_overhead_mb: int = 0
    hypervisor_type: str = "fake"
    hypervisor_version: int = 0
    cpu_info: str = ""
    architecture: str = "x86_64"
    capabilities: dict[str, bool] = {}


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """A node presents itself. `boot_id` changes when the machine restarted, `incarnation` with each agent start;
    `booted_at` is when the machine started, µs (0: not told)."""

    protocol: int
    host_id: str
    name: str
    boot_id: str
    incarnation: str
    inventory: Inventory
    booted_at: int = 0


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A node lives."""

    host_id: str
    incarnation: str


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to Hello. Debts (`power` absent) come first: the node clears them before it takes new work."""

    protocol: int
    cloud_id: str
    acked: int
    guests: tuple[GuestSpec, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Observations with consecutive numbers: the first one is `first`."""

    host_id: str
    incarnation: str
    first: int
    observations: tuple[GuestObservation, ...]


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """Everything up to and including `acked` is durable in the control plane."""

    acked: int


class Version(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A document's identity and version; of a guest also its fence."""

    kind: DocKind
    id: str
    version: int
    fence: int = 0


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """A hash over the versions of all that the node holds. A node that realises no networks holds only guests."""

    host_id: str
    digest: str
    networks: bool = True


def digest_of(versions: Iterable[Version]) -> str:
    """The hash that both sides compute: over kind, id, version and fence, sorted."""
    lines = sorted(f"{v.kind}:{v.id}:{v.version}:{v.fence}" for v in versions)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class DigestAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing when the digests agree; else every version that the node should hold."""

    same: bool
    versions: tuple[Version, ...] = ()


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """Documents wanted, at most 200 at a time."""

    host_id: str
    wanted: tuple[Version, ...]


class Docs(msgspec.Struct, frozen=True, kw_only=True):
    """Documents as they are now; what does not exist any more (or is not for this host) is absent."""

    guests: tuple[GuestSpec, ...] = ()
    networks: tuple[NetworkDoc, ...] = ()
    routers: tuple[RouterDoc, ...] = ()
    ports: tuple[PortDoc, ...] = ()
    address_sets: tuple[AddressSetDoc, ...] = ()


class DepositChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a copy of a guest's disk, which becomes the image that the guest's spec names. Parts come in order;
    one at offset 0 of another `copy` begins anew. `size` is what there will be in all."""

    host_id: str
    server_id: str
    image_id: str
    copy: str
    disk_format: str
    offset: int
    size: int
    data: bytes

    @property
    def is_last(self) -> bool:
        return self.offset + len(self.data) >= self.size


class DepositAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a part was taken; after the last one, whether the image is whole. `again`: beginning anew may help."""

    error: str = ""
    again: bool = False


class Nudge(msgspec.Struct, frozen=True, kw_only=True):
    """Desired state changed: these guests, and these other versions to fetch."""

    guests: tuple[GuestSpec, ...] = ()
    versions: tuple[Version, ...] = ()


class TicketRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A node asks for an image's bytes."""

    host_id: str
    image_id: str


class ImageTicket(msgspec.Struct, frozen=True, kw_only=True):
    """Where an image's bytes are (`file:` on the same machine, else a signed http address) and what they must be."""

    url: str
    sha512: str
    size: int
    disk_format: str


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A question to a running node, or something that is done at once. `world` takes nothing, the others a server_id,
    `console` also a limit (bytes), `set_password` a user and the secret, `connect` the kind of a console."""

    question: Literal["console", "world", "diagnose", "set_password", "interrupt", "connect"]
    server_id: str = ""
    limit: int = 0
    user: str = ""
    secret: str = ""
    kind: ConsoleKind = "serial"


class DiskUse(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest did with a disk since it was started."""

    name: str
    read_bytes: int = 0
    read_requests: int = 0
    write_bytes: int = 0
    write_requests: int = 0
    errors: int = 0


class NicUse(msgspec.Struct, frozen=True, kw_only=True):
    """What went through a NIC since the guest was started; `rx` is what the guest received."""

    name: str
    mac: str
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_drop: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_drop: int = 0


class Diagnostics(msgspec.Struct, frozen=True, kw_only=True):
    """What a hypervisor says of a running guest. `cpus` are ns of each virtual processor, `uptime` is in seconds."""

    driver: str
    hypervisor: str
    state: str
    uptime: int
    cpus: tuple[int, ...]
    memory_mb: int
    memory_used_mb: int
    nics: tuple[NicUse, ...] = ()
    disks: tuple[DiskUse, ...] = ()


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What really exists on a host and carries the cloud's id, for the audit. Server, network, port ids."""

    host_id: str
    guests: dict[str, str] = {}
    disks: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to Ask: `text` for console output and for a console's address, `world` for the audit, or an error's
    code and public text."""

    text: str = ""
    world: World | None = None
    diagnostics: Diagnostics | None = None
    code: str = ""
    error: str = ""
