"""From the body of `POST /servers` to what the server service takes (API reference "Create Server")."""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from kilonova.cloud.flavor.model import Flavor
from kilonova.cloud.host.model import Host
from kilonova.cloud.image.model import ACTIVE, Image
from kilonova.cloud.keypair.model import Keypair
from kilonova.cloud.network.model import CheckedNics, Group, NicRequest
from kilonova.cloud.quota.model import Use
from kilonova.cloud.server.model import FlavorCopy, KeyCopy, NewServer
from kilonova.core.context import Context
from kilonova.core.errors import Forbidden, Invalid, NotBuilt, NotFound, QuotaExceeded
from kilonova.core.ids import is_uuid
from kilonova.edge.openstack.compute.policy import PREFIX, owner_of
from kilonova.edge.openstack.compute.schema import is_true
from kilonova.edge.openstack.compute.server.hint import Groups as ServerGroups
from kilonova.edge.openstack.compute.server.hint import read_hints
from kilonova.kit.http import Request
from kilonova.wire.guest import ImageRef
from kilonova.wire.hardware import resolve

MOST_AT_ONCE: Final = 1000
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_LETTERS: Final = string.ascii_letters + string.digits
_UNBUILT: Final = ("trusted_image_certificates",)


class Flavors(Protocol):
    async def get(self, context: Context, flavor_id: str) -> Flavor: ...


class Images(Protocol):
    async def get(self, context: Context, image_id: str) -> Image: ...

    def ref(self, image: Image) -> ImageRef: ...


class Keypairs(Protocol):
    async def get(self, context: Context, name: str, user_id: str | None = None) -> Keypair: ...


class Nics(Protocol):
    async def check(self, context: Context, requests: Any, groups: list[str], count: int = 1) -> CheckedNics: ...


class Groups(Protocol):
    async def get(self, context: Context, group_id: str) -> Group: ...


class Quotas(Protocol):
    async def uses(self, project_id: str) -> Mapping[str, Use]: ...


class Hosts(Protocol):
    async def zones(self) -> Mapping[str, bool]: ...

    async def find(self, name: str) -> Host: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Whom a create asks."""

    flavors: Flavors
    images: Images
    keypairs: Keypairs
    nics: Nics
    quotas: Quotas
    hosts: Hosts
    server_groups: ServerGroups
    groups: Groups | None = None


class Creation:
    """Checks a body that passed the schema against what exists, and resolves it."""

    def __init__(self, sources: Sources) -> None:
        self._ask = sources

    async def resolve(self, request: Request) -> NewServer:
        """What the server service shall make. Raises Invalid, Forbidden, QuotaExceeded, Conflict, NotBuilt."""
        wanted, context = request.json["server"], request.context
        _refuse_unbuilt(request.json)
        least, most = _counts(wanted)
        flavor = await self.find_flavor(context, wanted["flavorRef"])
        image = await self.find_image(context, _image_id(wanted), flavor)
        hardware = resolve(flavor.extra_specs, image.properties, flavor.vcpus)
        key = await self.find_key(context, wanted.get("key_name"))
        zone, host = await self._place(request, wanted)
        metadata = wanted.get("metadata", {})
        await self.check_metadata(context, metadata)
        group_id, hints = await read_hints(request.json, context, self._ask.server_groups)
        groups = list(dict.fromkeys(g["name"] for g in wanted.get("security_groups", ()) if "name" in g)) or ["default"]
        nics = await self._ask.nics.check(context, _networks(wanted), groups, most)
        return NewServer(
            name=wanted["name"],
            flavor=copy_flavor(flavor),
            image_id=image.id,
            image=self.copy_image(image, wanted.get("OS-DCF:diskConfig")),
            nics=msgspec.to_builtins(nics),
            security_groups=await self._group_names(context, groups),
            key=key,
            user_data="".join(wanted.get("user_data", "").split()),
            config_drive=is_true(wanted.get("config_drive", False)) or hardware.drive,
            metadata=tuple(sorted(metadata.items())),
            zone=zone,
            host=host,
            description=wanted.get("description", wanted["name"] if request.version < (2, 19) else None),
            hostname=wanted.get("hostname"),
            admin_password=wanted.get("adminPass") or new_password(),
            access_ip4=wanted.get("accessIPv4", ""),
            access_ip6=wanted.get("accessIPv6", ""),
            tags=tuple(dict.fromkeys(wanted.get("tags", ()))),
            group_id=group_id,
            hints=hints,
            files=await self.read_files(context, wanted.get("personality", ())),
            min_count=least,
            max_count=most,
        )

    async def find_flavor(self, context: Context, reference: Any) -> Flavor:
        """The flavor that a body refers to. Raises Invalid."""
        identifier = str(reference).rpartition("/")[2]
        try:
            flavor = await self._ask.flavors.get(context, identifier)
        except NotFound:
            raise Invalid("Invalid flavorRef provided.") from None
        if flavor.disabled:
            raise Invalid("Invalid flavorRef provided.")
        return flavor

    async def get_image(self, context: Context, image_id: str) -> Image:
        """An image that the caller sees. Raises NotFound."""
        return await self._ask.images.get(context, image_id)

    async def find_image(self, context: Context, image_id: str, flavor: Flavor | FlavorCopy | None) -> Image:
        """The active image that a body refers to, if it fits the flavor (None: it need not). Raises Invalid."""
        try:
            image = await self._ask.images.get(context, image_id)
        except NotFound:
            raise Invalid("Can not find requested image") from None
        if image.status != ACTIVE:
            raise Invalid(f"Image {image_id} is not active.")
        if flavor is not None:
            _check_sizes(image, flavor)
        return image

    def copy_image(self, image: Image, disk_config: str | None) -> dict[str, Any]:
        """What a server keeps of its image."""
        copy: dict[str, Any] = msgspec.to_builtins(self._ask.images.ref(image))
        if disk_config is not None:
            copy["properties"] = {**copy["properties"], "auto_disk_config": str(disk_config == "AUTO").lower()}
        return copy

    async def find_key(self, context: Context, name: str | None) -> KeyCopy | None:
        """The caller's key pair of that name. Raises Invalid."""
        if name is None:
            return None
        try:
            key = await self._ask.keypairs.get(context, name)
        except NotFound:
            raise Invalid("Invalid key_name provided.") from None
        return KeyCopy(name=key.name, public_key=key.public_key, type=key.type)

    async def _group_names(self, context: Context, asked: list[str]) -> tuple[str, ...]:
        """Names of groups that were found to be there, given by name or id: the API shows names."""
        if self._ask.groups is None:
            return tuple(asked)
        names = [(await self._ask.groups.get(context, one)).name if is_uuid(one) else one for one in asked]
        return tuple(dict.fromkeys(names))

    async def check_metadata(self, context: Context, metadata: Mapping[str, str]) -> None:
        """Raises QuotaExceeded when these are too many items."""
        if not metadata:
            return
        use = (await self._ask.quotas.uses(owner_of(context)))["metadata_items"]
        if 0 <= use.limit < len(metadata):
            raise QuotaExceeded(f"Maximum number of metadata items exceeds {use.limit}", resource="metadata_items")

    async def read_files(self, context: Context, asked: Sequence[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
        """The files of a `personality` as (path, base64). Raises QuotaExceeded, Invalid."""
        if not asked:
            return ()
        limits = await self._ask.quotas.uses(owner_of(context))
        files = tuple((one.get("path", ""), "".join(one.get("contents", "").split())) for one in asked)
        longest = max(len(path.encode()) for path, _ in files)
        largest = max(len(base64.b64decode(data)) for _, data in files)
        for name, size, what in (
            ("injected_files", len(files), "Personality file limit exceeded"),
            ("injected_file_path_bytes", longest, "Personality file path too long"),
            ("injected_file_content_bytes", largest, "Personality file content exceeds maximum size"),
        ):
            if 0 <= limits[name].limit < size:
                raise QuotaExceeded(f"{what}: at most {limits[name].limit}", resource=name)
        if not all(path for path, _ in files):
            raise Invalid("Bad personality format: missing path")
        return files

    async def _place(self, request: Request, wanted: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """Zone and host: `zone`, `zone:host` or `zone:host:node`, or from 2.74 the host by itself."""
        zone, _, forced = wanted.get("availability_zone", "").partition(":")
        forced, _, node = forced.partition(":")
        named = [h for h in (forced, node, wanted.get("host"), wanted.get("hypervisor_hostname")) if h]
        if forced or node:
            _require(request, f"{PREFIX}servers:create:forced_host")
        if wanted.get("host") or wanted.get("hypervisor_hostname"):
            _require(request, "compute:servers:create:requested_destination")
        if len(set(named)) > 1:
            raise Invalid("No valid host was found: the host and the hypervisor that are asked for differ")
        if zone and zone not in await self._ask.hosts.zones():
            raise Invalid("The requested availability zone is not available")
        if not named:
            return zone or None, None
        try:
            host = await self._ask.hosts.find(named[0])
        except NotFound as failure:
            raise Invalid(failure.message) from None
        return zone or None, host.id


def _check_sizes(image: Image, flavor: Flavor | FlavorCopy) -> None:
    if flavor.memory_mb < image.min_ram:
        raise Invalid("Flavor's memory is too small for requested image.")
    disk = flavor.root_gb * _GIB
    needed = max(image.virtual_size or 0, image.size or 0 if image.disk_format == "raw" else 0)
    # A root disk of 0 GiB takes the image's own size.
    if disk and disk < needed:
        raise Invalid(
            f"Flavor's disk is too small for requested image. Flavor disk is {disk} bytes, image is {needed} bytes."
        )
    if disk and disk < image.min_disk * _GIB:
        raise Invalid(
            "Flavor's disk is smaller than the minimum size specified in image metadata. "
            f"Flavor disk is {disk} bytes, minimum size is {image.min_disk * _GIB} bytes."
        )


def new_password() -> str:
    """Twelve letters and digits (71 bits)."""
    return "".join(secrets.choice(_LETTERS) for _ in range(12))


def copy_flavor(flavor: Flavor) -> FlavorCopy:
    """What a server keeps of its flavor."""
    return FlavorCopy(
        id=flavor.id,
        name=flavor.name,
        vcpus=flavor.vcpus,
        memory_mb=flavor.memory_mb,
        root_gb=flavor.root_gb,
        ephemeral_gb=flavor.ephemeral_gb,
        swap_mb=flavor.swap_mb,
        extra_specs=dict(flavor.extra_specs),
        description=flavor.description,
    )


def _refuse_unbuilt(body: Mapping[str, Any]) -> None:
    wanted = body["server"]
    for name in _UNBUILT:
        if wanted.get(name):
            raise NotBuilt(f"The attribute {name} is not implemented")
    if wanted.get("block_device_mapping"):
        raise NotBuilt("Booting from volumes is not implemented")


def _counts(wanted: Mapping[str, Any]) -> tuple[int, int]:
    least = int(wanted.get("min_count", 1))
    most = int(wanted.get("max_count", least))
    if least > most:
        raise Invalid("min_count must be <= max_count")
    if most > MOST_AT_ONCE:
        raise Invalid(f"max_count must be <= {MOST_AT_ONCE}")
    if most > 1 and len(wanted["name"]) + 1 + len(str(most)) > 255:
        raise Invalid("The name is too long to be numbered")
    return least, most


def _image_id(wanted: Mapping[str, Any]) -> str:
    """The image to boot from; one mapping of an image to the local boot disk says the same as imageRef."""
    image_id: str = wanted.get("imageRef", "").rpartition("/")[2]
    devices = wanted.get("block_device_mapping_v2") or []
    for device in devices:
        if not _is_boot_image(device) or len(devices) > 1:
            raise NotBuilt("Block devices other than the image's own disk are not implemented")
        named = device.get("uuid") or device.get("image_id") or ""
        if not is_uuid(named):
            raise Invalid("Block Device Mapping is Invalid: failed to get image")
        if image_id and image_id != named:
            raise Invalid("Block Device Mapping is Invalid: Boot sequence for the instance and image/block device "
                          "mapping combination is not valid.")  # fmt: skip
        image_id = named
    if not image_id:
        raise Invalid("Missing imageRef attribute" if "imageRef" not in wanted else "Invalid imageRef provided.")
    return image_id


def _is_boot_image(device: Mapping[str, Any]) -> bool:
    special = ("volume_id", "snapshot_id", "no_device", "virtual_name", "guest_format", "volume_size", "volume_type")
    return (
        device.get("source_type") == "image"
        and device.get("destination_type", "local") == "local"
        and str(device.get("boot_index")) == "0"
        and not any(device.get(name) for name in special)
    )


def _networks(wanted: Mapping[str, Any]) -> Any:
    asked = wanted.get("networks")
    if asked is None or isinstance(asked, str):
        return asked
    found = []
    for one in asked:
        port, network = one.get("port"), one.get("uuid")
        if port is None and network is None:
            raise Invalid("Bad network format: missing 'uuid'")
        if port is None and not is_uuid(network):
            raise Invalid(f"Bad networks format: network uuid is not in proper format ({network[:64]})")
        network = None if port is not None else network
        found.append(NicRequest(network_id=network, port_id=port, fixed_ip=one.get("fixed_ip"), tag=one.get("tag")))
    return found or None


def _require(request: Request, rule: str) -> None:
    if not request.permits(rule):
        raise Forbidden(f"Policy doesn't allow {rule} to be performed.", rule=rule)
