"""What a namespace of metadata definitions is, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Kind = Literal["object", "property", "tag", "association"]
KINDS: Final[tuple[Kind, ...]] = ("object", "property", "tag", "association")
Visibility = Literal["public", "private"]
VISIBILITIES: Final = ("public", "private")

MAX_ENTRIES: Final = 1000
"""So many of each kind a namespace may hold."""
MAX_BYTES: Final = 1 << 20
"""So long all documents of a namespace may be, as JSON."""
MAX_RESOURCE_TYPES: Final = 1000

RESOURCE_TYPES: Final = ("OS::Glance::Image", "OS::Nova::Flavor", "OS::Nova::Server")
"""What a new cloud knows: the things that it has and that metadata can be put on, under Heat's names."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A set of definitions with a name that is unique in the cloud. A private one is its owner's alone. What is
    protected cannot be deleted, nor can what it holds. Times in µs."""

    id: str
    name: str
    owner: str
    display_name: str | None = None
    description: str | None = None
    visibility: Visibility = "private"
    protected: bool = False
    created_at: int = 0
    updated_at: int = 0


@dataclass(frozen=True, slots=True)
class NamespaceSpec:
    """What a caller chooses of a namespace. `owner` defaults to the caller's project."""

    name: str
    owner: str | None = None
    display_name: str | None = None
    description: str | None = None
    visibility: Visibility = "private"
    protected: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a namespace, its name unique among those of its kind there; an association is named by its resource
    type. `document` is what else is said about it:

    - object: `description`, `required` (names), `properties` (JSON Schema of each by name)
    - property: its JSON Schema
    - tag: nothing
    - association: `prefix` of the properties' names on that resource type, `properties_target`
    """

    name: str
    document: Mapping[str, Any] = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0


Entries = Mapping[Kind, Sequence[Entry]]
"""By kind; a kind that is absent has none."""


@dataclass(frozen=True, slots=True)
class Contents:
    """A namespace and what it holds, each kind in the order of names."""

    namespace: Namespace
    entries: Entries = field(default_factory=dict)

    def of(self, kind: Kind) -> Sequence[Entry]:
        """What it holds of a kind."""
        return self.entries.get(kind, ())


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A kind of thing that metadata can be put on. It stays known when nothing is associated with it any longer."""

    name: str
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which namespaces a list shows; everything given must hold. `resource_types`: associated with one of them."""

    visibility: str | None = None
    resource_types: tuple[str, ...] = ()


SORT_COLUMNS: Final = frozenset(
    {"name", "display_name", "visibility", "protected", "owner", "created_at", "updated_at", "id"}
)
ENTRY_SORT_COLUMNS: Final = frozenset({"name", "created_at", "updated_at"})


@dataclass(frozen=True, slots=True)
class Page:
    """Order and window of a list; `marker` is the last name seen."""

    sort: str = "created_at"
    descending: bool = True
    limit: int = 25
    marker: str | None = None
