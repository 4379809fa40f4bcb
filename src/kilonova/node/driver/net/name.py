"""Names in the world: what this cloud calls its devices, namespaces and tables.

Linux gives an interface 15 characters: two letters for its kind, the cloud's 6 hex digits, and 7 digits of the id.
Seven digits can collide, so a name is only a candidate: the whole id stands in the kernel (an interface's alias, the
name of an nftables chain), and whoever picks a name passes those that are taken.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, Literal

from kilonova.core.ids import UUID_PATTERN
from kilonova.node.driver.failure import DriverError

Kind = Literal["bridge", "tap", "leg", "router"]
LETTER: Final[dict[Kind, str]] = {"bridge": "kb", "tap": "kt", "leg": "kd", "router": "kr"}
DIGITS: Final = 7
CLOUD_ID: Final = re.compile(r"[0-9a-f]{6}")


class Naming:
    """The names of one cloud. Raises ValueError when `cloud_id` is not 6 hex digits."""

    def __init__(self, cloud_id: str) -> None:
        if not CLOUD_ID.fullmatch(cloud_id):
            raise ValueError(f"a cloud id is 6 hex digits, not {cloud_id!r}")
        self.cloud_id = cloud_id
        self.table = f"kn_{cloud_id}"
        self._network_prefix = f"kn-{cloud_id}-"
        self._router_prefix = f"kn-{cloud_id}-r-"

    def prefix(self, kind: Kind) -> str:
        """What every interface of this kind begins with."""
        return LETTER[kind] + self.cloud_id

    def candidates(self, kind: Kind, identifier: str) -> list[str]:
        """The interface names for this id, best first."""
        digits = identifier.replace("-", "")
        return [self.prefix(kind) + digits[start : start + DIGITS] for start in range(len(digits) - DIGITS + 1)]

    def device(self, kind: Kind, identifier: str, taken: Collection[str]) -> str:
        """An interface name for this id that nothing else has. Raises DriverError when every candidate is taken."""
        for name in self.candidates(kind, identifier):
            if name not in taken:
                return name
        raise DriverError("driver", f"no interface name is left for {identifier}")

    def owns(self, device: str) -> bool:
        """Whether an interface in the root namespace carries the cloud's id."""
        return any(device.startswith(letters + self.cloud_id) for letters in LETTER.values())

    def network_namespace(self, network_id: str) -> str:
        """The namespace of a network's DHCP server and metadata address."""
        return self._network_prefix + network_id

    def router_namespace(self, router_id: str) -> str:
        """The namespace of a router."""
        return self._router_prefix + router_id

    def network_of(self, namespace: str) -> str | None:
        """The network whose namespace this is."""
        if self.router_of(namespace) is not None or not namespace.startswith(self._network_prefix):
            return None
        return namespace.removeprefix(self._network_prefix)

    def router_of(self, namespace: str) -> str | None:
        """The router whose namespace this is."""
        return namespace.removeprefix(self._router_prefix) if namespace.startswith(self._router_prefix) else None


def check_id(identifier: str) -> str:
    """The id itself when it is a UUID in its dashed form: it becomes part of paths and names. Raises DriverError."""
    if not UUID_PATTERN.fullmatch(identifier):
        raise DriverError("driver", "an id in a network document is not a UUID", detail=repr(identifier))
    return identifier
