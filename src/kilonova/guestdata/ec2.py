"""The EC2 dialect, as at the root of Nova's metadata service and under `ec2/` of its config drive.

Source: Amazon's "Instance metadata categories", in the versions and with the values that Nova gives.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from ipaddress import ip_address

from kilonova.guestdata.version import Versions
from kilonova.wire.guest import GuestSpec

VERSIONS = Versions(
    (
        "1.0",
        "2007-01-19",
        "2007-03-01",
        "2007-08-29",
        "2007-10-10",
        "2007-12-15",
        "2008-02-01",
        "2008-09-01",
        "2009-04-04",
    )
)
Node = str | int | tuple[str, ...] | Mapping[str, "Node"]
"""Folders are mappings, files are text, numbers or lines."""
Tree = Mapping[str, Node]
NAME = "_name"
"""How a folder wants to be listed instead of by its key; not itself readable."""


def meta_data(spec: GuestSpec, version: str) -> Tree:
    """The tree under `meta-data/` of a dated version; empty for a guest without a document."""
    document = spec.document
    if document is None:
        return {}
    tree: dict[str, Node] = {
        "ami-id": ec2_id("ami", spec.image.image_id) if spec.image else "",
        "ami-launch-index": document.launch_index,
        "ami-manifest-path": "FIXME",
        "instance-id": ec2_id("i", spec.server_id),
        "hostname": document.hostname,
        "local-ipv4": _local_ipv4(spec),
        "reservation-id": document.reservation_id,
        "security-groups": document.security_groups,
    }
    if document.public_keys:
        keys = enumerate(document.public_keys.items())
        tree["public-keys"] = {str(i): {NAME: f"{i}={name}", "openssh-key": key} for i, (name, key) in keys}
    if version >= "2007-01-19":
        tree |= {"local-hostname": document.hostname, "public-hostname": document.hostname, "public-ipv4": ""}
    if version >= "2007-08-29":
        tree["instance-type"] = document.flavor
    if version >= "2007-12-15":
        tree["block-device-mapping"] = _block_devices(spec)
        tree |= _kernel(spec)
    if version >= "2008-02-01":
        tree["placement"] = {"availability-zone": document.availability_zone}
    if version >= "2008-09-01":
        tree["instance-action"] = "none"
    return tree


def user_data(spec: GuestSpec) -> bytes | None:
    """What the user gave the guest, as it was; None when nothing."""
    if spec.document is None or not spec.document.user_data:
        return None
    return base64.b64decode(spec.document.user_data)


def read(spec: GuestSpec, version: str, path: tuple[str, ...]) -> bytes | None:
    """A file or a folder's listing in a dated version; None when there is none. A folder's name ends in `/`, a key's
    is `0=name`."""
    if not path:
        return b"meta-data/" if user_data(spec) is None else b"meta-data/\nuser-data"
    if path == ("user-data",):
        return user_data(spec)
    if path[0] != "meta-data" or spec.document is None:
        return None
    node: Node | None = meta_data(spec, version)
    for name in path[1:]:
        node = node.get(name) if isinstance(node, Mapping) and name != NAME else None
    return None if node is None else _text(node).encode()


def _text(node: Node) -> str:
    if isinstance(node, Mapping):
        return "\n".join(_entry(name, node[name]) for name in sorted(node) if name != NAME)
    return "\n".join(node) if isinstance(node, tuple) else str(node)


def _entry(name: str, node: Node) -> str:
    return str(node.get(NAME, f"{name}/")) if isinstance(node, Mapping) else name


def ec2_id(prefix: str, uuid: str) -> str:
    """The EC2 id of something by its UUID: its last 17 hexadecimal digits."""
    return f"{prefix}-{uuid.replace('-', '')[-17:]}"


def _local_ipv4(spec: GuestSpec) -> str:
    addresses = (fixed.address for port in spec.ports for fixed in port.fixed_ips)
    return next((address for address in addresses if ip_address(address).version == 4), "")


def _block_devices(spec: GuestSpec) -> Tree:
    """Disks in the order in which the guest sees them."""
    found = {"ami": "vda", "root": "/dev/vda"}
    letters = iter("bc")
    if spec.ephemeral_gb:
        found["ephemeral0"] = f"/dev/vd{next(letters)}"
    if spec.swap_mb:
        found["swap"] = f"/dev/vd{next(letters)}"
    return found


def _kernel(spec: GuestSpec) -> dict[str, str]:
    properties = spec.image.properties if spec.image else {}
    parts = (("kernel-id", "aki", properties.get("kernel_id")), ("ramdisk-id", "ari", properties.get("ramdisk_id")))
    return {name: ec2_id(prefix, image_id) for name, prefix, image_id in parts if image_id}
