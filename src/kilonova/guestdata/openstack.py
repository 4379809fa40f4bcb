"""The OpenStack dialect, as under `/openstack/` of Nova's metadata service and on its config drive.

Source: Nova's user guide, "Metadata"; versions and their keys as of Nova 2026.1.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

import msgspec

from kilonova.guestdata.network import Json, describe
from kilonova.guestdata.version import Versions
from kilonova.wire.guest import GuestDocument, GuestSpec
from kilonova.wire.network import NetworkDoc

FOLSOM = "2012-08-10"
GRIZZLY = "2013-04-04"
HAVANA = "2013-10-17"
LIBERTY = "2015-10-15"
NEWTON_ONE = "2016-06-30"
NEWTON_TWO = "2016-10-06"
OCATA = "2017-02-22"
ROCKY = "2018-08-27"
VICTORIA = "2020-10-14"
EPOXY = "2025-04-04"
VERSIONS = Versions((FOLSOM, GRIZZLY, HAVANA, LIBERTY, NEWTON_ONE, NEWTON_TWO, OCATA, ROCKY, VICTORIA, EPOXY))

SINCE = {
    "meta_data.json": FOLSOM,
    "user_data": FOLSOM,
    "password": GRIZZLY,
    "vendor_data.json": HAVANA,
    "network_data.json": LIBERTY,
    "vendor_data2.json": NEWTON_TWO,
}
"""What lies in a version's folder, in the order in which Nova lists it."""
SEED_BYTES = 512


def listing(spec: GuestSpec, version: str) -> tuple[str, ...]:
    """The names in the folder of a dated version. `user_data` is only there when the guest has some."""
    has_user_data = spec.document is not None and bool(spec.document.user_data)
    return tuple(name for name, since in SINCE.items() if since <= version and (name != "user_data" or has_user_data))


def read(
    spec: GuestSpec, version: str, name: str, networks: Mapping[str, NetworkDoc], seed: bytes, *, drive: bool = False
) -> bytes | None:
    """One file of a dated version; None when there is none. `seed` is randomness for the guest; on the config drive
    (`drive`) meta_data.json also has the administrator's password, which Nova never answers over the network."""
    document = spec.document
    if document is None or name not in listing(spec, version):
        return None
    if name == "user_data":
        return base64.b64decode(document.user_data)
    if name == "password":
        return b""
    if name == "network_data.json":
        return _encode(describe(spec.ports, networks))
    if name == "vendor_data.json":
        return _encode({})
    if name == "vendor_data2.json":
        return _encode({"static": {}})
    return _encode(_meta_data(spec, document, version, seed, drive=drive))


def contents(spec: GuestSpec) -> dict[str, bytes]:
    """What lies in the folder `content`: the files that the guest's owner gave it, by number."""
    files = spec.document.files if spec.document is not None else ()
    return {f"{number:04d}": base64.b64decode(data) for number, (_, data) in enumerate(files)}


def _meta_data(spec: GuestSpec, document: GuestDocument, version: str, seed: bytes, *, drive: bool) -> Json:
    found: Json = {"uuid": document.server_id}
    if document.metadata:
        found["meta"] = document.metadata
    if drive and document.admin_password:
        found["admin_pass"] = document.admin_password
    if document.public_keys:
        found["public_keys"] = document.public_keys
        found["keys"] = [
            {"name": name, "type": document.key_types.get(name, "ssh"), "data": data}
            for name, data in document.public_keys.items()
        ]
    found["hostname"] = document.hostname
    found["name"] = document.name
    found["launch_index"] = document.launch_index
    found["availability_zone"] = document.availability_zone
    if version >= GRIZZLY and seed:
        found["random_seed"] = base64.b64encode(seed).decode()
    if version >= LIBERTY:
        found["project_id"] = document.project_id
    if document.files:
        found["files"] = [
            {"path": path, "content_path": f"/content/{number:04d}"} for number, (path, _) in enumerate(document.files)
        ]
    if version >= NEWTON_ONE:
        found["devices"] = [{"type": "nic", "mac": p.mac, "tags": [p.tag]} for p in spec.ports if p.tag]
    if version >= VICTORIA:
        found["dedicated_cpus"] = []
    return found


def _encode(value: Json) -> bytes:
    return msgspec.json.encode(value)
