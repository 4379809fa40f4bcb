"""What an image is, and its life as a table (Image API v2, "Image status")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from kilonova.core.context import Context
from kilonova.core.machine import Machine, moves

QUEUED: Final = "queued"
SAVING: Final = "saving"
UPLOADING: Final = "uploading"
IMPORTING: Final = "importing"
ACTIVE: Final = "active"
DEACTIVATED: Final = "deactivated"
KILLED: Final = "killed"
DELETED: Final = "deleted"

LIFE: Final = Machine(
    "image",
    frozenset({QUEUED, SAVING, UPLOADING, IMPORTING, ACTIVE, DEACTIVATED, KILLED, DELETED}),
    moves(
        {
            "upload": [([QUEUED], SAVING)],
            "stage": [([QUEUED], UPLOADING)],
            "import": [([QUEUED, UPLOADING], IMPORTING)],
            "finish": [([SAVING, IMPORTING], ACTIVE)],
            "give_up": [([SAVING, UPLOADING, IMPORTING], QUEUED)],
            "deactivate": [([ACTIVE, DEACTIVATED], DEACTIVATED)],
            "reactivate": [([ACTIVE, DEACTIVATED], ACTIVE)],
            "delete": [([QUEUED, SAVING, UPLOADING, IMPORTING, ACTIVE, DEACTIVATED, KILLED], DELETED)],
        }
    ),
)
"""`uploading` is Glance's word for staged, or being staged. `pending_delete` is never entered: bytes go with their
record."""

DISK_FORMATS: Final = ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop", "gpt")
CONTAINER_FORMATS: Final = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
VISIBILITIES: Final = ("public", "private", "shared", "community")
HASH: Final = "sha512"
MAX_PROPERTIES: Final = 128
MAX_PROPERTY_BYTES: Final = 65536
"""Names and values of one image's properties together, in UTF-8: a page of a list holds many images."""
MAX_TAGS: Final = 128
MAX_MEMBERS: Final = 128
MEMBER_STATUSES: Final = ("pending", "accepted", "rejected")


@dataclass(frozen=True, slots=True)
class Image:
    """An image. Sizes in bytes (None until there are bytes), `min_disk` in GiB, `min_ram` in MiB, times in µs.

    `blob` names its bytes in the blob store: set from the moment an upload begins, a new name each time, so that two
    uploaders can never write the same bytes. `staged` is the size of bytes that wait there for an import.
    """

    id: str
    owner: str
    name: str | None
    status: str = QUEUED
    visibility: str = "shared"
    disk_format: str | None = None
    container_format: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    protected: bool = False
    hidden: bool = False
    size: int | None = None
    virtual_size: int | None = None
    md5: str | None = None
    sha512: str | None = None
    blob: str | None = None
    staged: int | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    created_at: int = 0
    updated_at: int = 0

    @property
    def is_being_filled(self) -> bool:
        """Whether bytes may be under way to its blob, which only the filler then removes."""
        return self.status in (SAVING, IMPORTING) or (self.status == UPLOADING and self.staged is None)

    def is_changeable_by(self, context: Context) -> bool:
        """Whether it is the caller's own (or the caller administrates the cloud)."""
        return context.is_admin or (bool(context.project_id) and context.project_id == self.owner)


@dataclass(frozen=True, slots=True)
class NewImage:
    """What a caller chooses of a new image. `id` and `owner` (the latter administrators only) default to ours."""

    name: str | None = None
    id: str | None = None
    owner: str | None = None
    visibility: str = "shared"
    disk_format: str | None = None
    container_format: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    protected: bool = False
    hidden: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """A project that a shared image is offered to, and what it said. Times in µs."""

    image_id: str
    member_id: str
    status: str
    created_at: int
    updated_at: int


FIELDS: Final = frozenset(
    {"name", "owner", "visibility", "disk_format", "container_format", "min_disk", "min_ram", "protected", "hidden"}
)
"""What an update may set; formats only while there are no bytes."""


@dataclass(frozen=True, slots=True)
class Change:
    """One step of an update: of a field in `FIELDS`, of `tags` (all at once), of one `tag` (the value), or of a
    property when `is_property`.

    `add` sets, `replace` sets what must exist, `remove` removes what must exist (properties and single tags only).
    """

    act: Literal["add", "replace", "remove"]
    name: str
    value: object = None
    is_property: bool = False


Deed = tuple[Literal["create", "update", "delete"], str]
"""What a step does to a property, and the property's name."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which images a list shows; everything given must hold.

    `equal` and `one_of` go by column, `times` are (column, comparison, µs). Without `visibility` a project sees its
    own and public images and those shared with it, but no community images of others; with `all` those too. Of images
    shared with it, it sees those that it has answered with `member_status`, or with anything when that is `all`.
    """

    equal: Mapping[str, str | int | bool] = field(default_factory=dict)
    one_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    times: tuple[tuple[str, Literal["gt", "gte", "lt", "lte", "eq", "neq"], int], ...] = ()
    size_min: int | None = None
    size_max: int | None = None
    visibility: str | None = None
    member_status: str = "accepted"
    hidden: bool = False
    tags: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)


FILTER_COLUMNS: Final = frozenset(
    {"id", "name", "status", "owner", "disk_format", "container_format", "min_disk", "min_ram", "protected", "md5"}
    | {"sha512", "size"}
)
SORT_COLUMNS: Final = frozenset(
    {"name", "status", "container_format", "disk_format", "size", "virtual_size", "id", "created_at", "updated_at"}
    | {"min_disk", "min_ram", "owner", "protected", "visibility"}
)


@dataclass(frozen=True, slots=True)
class Page:
    """Order and window of a list: (column, descending) in order of weight; `marker` is the last id seen."""

    sort: tuple[tuple[str, bool], ...] = (("created_at", True),)
    limit: int = 25
    marker: str | None = None


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What a sweep found and mended: uploads whose uploader died, blobs that belong to no image."""

    uploads: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()


OLD: Final = "import"
"""The type of a task that makes its image itself."""


@dataclass(frozen=True, slots=True)
class Task:
    """An import: `input` as the caller wrote it, `message` why it failed. Type: api_image_import, or `OLD`. Status:
    pending, processing, success, failure. Times in µs."""

    id: str
    image_id: str
    owner: str
    user_id: str
    request_id: str
    type: str
    input: Mapping[str, object]
    status: str = "pending"
    message: str = ""
    created_at: int = 0
    updated_at: int = 0
