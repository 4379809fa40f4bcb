"""The desired state of a guest, and what a node observed of it."""

from __future__ import annotations

from typing import Literal

import msgspec

from kilonova.wire.hardware import PLAIN, Hardware
from kilonova.wire.network import PortDoc

Power = Literal["running", "stopped", "paused", "suspended", "absent", "incoming"]
ObservedPower = Literal["running", "stopped", "paused", "suspended", "crashed", "absent", "unknown"]


class ImageRef(msgspec.Struct, frozen=True, kw_only=True):
    """An image by identity of its bytes. `virtual_bytes` is the size that a guest sees; 0 when not known."""

    image_id: str
    name: str
    sha512: str
    size: int
    disk_format: str
    virtual_bytes: int = 0
    properties: dict[str, str] = {}


class GuestDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest may read about itself; `guestdata` renders it. `user_data` is base64 text, as are
    the contents of `files` (path, contents); times are in µs."""

    server_id: str
    name: str
    hostname: str
    project_id: str
    user_id: str
    availability_zone: str = "nova"
    launch_index: int = 0
    reservation_id: str = ""
    public_keys: dict[str, str] = {}
    key_types: dict[str, str] = {}
    metadata: dict[str, str] = {}
    user_data: str = ""
    files: tuple[tuple[str, str], ...] = ()
    admin_password: str = ""
    flavor: str = ""
    security_groups: tuple[str, ...] = ()
    created_at: int = 0


class GuestSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a node shall make true for one guest.

    `fence` rises when someone new takes charge of the server (delete, evacuate): a node refuses a lower one and drops
    what it does under it. `version` rises with each change under a fence. `boot_count`, `soft_reboots` and
    `hard_reboots` are levels, not commands: the node compares them with its journal and does what is missing, once.
    Memory in MiB, root and ephemeral disks in GiB, swap in MiB; `root_gb` 0 means the image's own size.

    Disks are made to be so whenever the guest is started. `generation`: how often they shall have been made anew from
    `image` (ephemeral and swap stay with `preserve_ephemeral`). `mark` names a state of the root disk that shall be
    kept, the one before its first start under that mark; `restore` names the one to return to. With `rescue` the guest
    starts from a fresh disk of that image and has its own disks beside it.

    `incoming` is what comes from another host while it runs: the node makes all ready and tells, as `reception`, where
    it is to be sent. `send_to` is such a reception: the guest shall go there as it runs, and is not started here again
    under that spec, whatever happens; `hurry` lets it stand still for that, `abort` keeps it here if it has not gone.

    `nic_changes` is a level: how often the NICs of a guest that runs shall have been made those of `ports`.

    `password_clears` is a level: how often what the guest told as its password shall have been forgotten.

    `deposits` is a level too: how often a copy of the root disk, as it was at one moment, shall have been given to the
    control plane; the last one becomes the image `deposit_to`.
    """

    server_id: str
    fence: int
    version: int
    power: Power
    name: str = ""
    vcpus: int = 1
    memory_mb: int = 64
    root_gb: int = 0
    ephemeral_gb: int = 0
    swap_mb: int = 0
    image: ImageRef | None = None
    ports: tuple[PortDoc, ...] = ()
    config_drive: bool = False
    document: GuestDocument | None = None
    boot_count: int = 0
    soft_reboots: int = 0
    hard_reboots: int = 0
    nic_changes: int = 0
    password_clears: int = 0
    stop_timeout: int = 60
    fake: dict[str, str] = {}
    request_id: str = ""
    generation: int = 0
    preserve_ephemeral: bool = False
    mark: str = ""
    restore: str = ""
    rescue: ImageRef | None = None
    deposits: int = 0
    deposit_to: str = ""
    send_to: str = ""
    hurry: bool = False
    abort: bool = False
    hardware: Hardware = PLAIN


class GuestError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a node could not do it. `message` is public; `detail` is not."""

    code: str
    message: str
    detail: str = ""
    retryable: bool = False


class GuestObservation(msgspec.Struct, frozen=True, kw_only=True):
    """What a node saw of one guest, with the levels that it has reached. `at` is in µs of the node's clock.

    `fence` and `version` are of the spec that was in force. `error` is set when the node gave up on that version.
    `progress` (0–100) and `stage` tell how far long work is. `password` is what the guest told, as it encrypted it.
    """

    server_id: str
    fence: int
    version: int
    power: ObservedPower
    boot_count: int = 0
    soft_reboots: int = 0
    hard_reboots: int = 0
    settled: bool = True
    cause: str = ""
    stage: str = ""
    progress: int = 0
    error: GuestError | None = None
    at: int = 0
    reception: str = ""
    password: str = ""
    password_clears: int = 0
