"""What a flavor's extra specs and an image's properties make of a guest.

`hardware_keys.KEYS` says of each name whether it is realised, only tells something, or is refused. Sources: Nova's
"Extra Specs" and Glance's "Useful image properties".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from kilonova.core.errors import Invalid
from kilonova.wire.hardware_keys import IMAGE_SPACES, KEYS, SPEC_SPACES, Key

_BY_SPEC = {key.spec: key for key in KEYS if key.spec}
_BY_PROPERTY = {key.property: key for key in KEYS if key.property}


class Hardware(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The devices and limits of a guest beside its sizes. 0 and "" mean what the hypervisor has by itself. Disk limits
    by libvirt's names, NIC limits (average, peak, burst) in KiB/s and KiB, video memory in MiB, periods in µs (CPU) and
    ms (RNG)."""

    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    sockets: int = 0
    cores: int = 0
    threads: int = 0
    disk_limits: dict[str, int] = {}
    nic_in: dict[str, int] = {}
    nic_out: dict[str, int] = {}
    machine: str = "pc"
    disk_bus: str = "virtio"
    cdrom_bus: str = ""
    nic_model: str = "virtio"
    video: str = "vga"
    video_mb: int = 16
    rng: bool = True
    rng_bytes: int = 0
    rng_period: int = 0
    watchdog: str = ""
    agent: bool = True
    boot_menu: bool = False
    hpet: bool = False
    pointer: str = ""
    serial_ports: int = 1
    local_time: bool = False
    stop_timeout: int = 60
    drive: bool = False


PLAIN = Hardware()
_WORDS: Mapping[str, Mapping[Any, Any]] = {
    "pointer": {"usbtablet": "usb", "ps2mouse": ""},
    "watchdog": {"disabled": ""},
    "local_time": {"windows": True, "linux": False},
    "drive": {"mandatory": True, "optional": False},
}


def check_spec(name: str, value: str) -> None:
    """Raises Invalid for an extra spec whose name a known namespace does not have, or whose value it cannot have. Names
    of other namespaces, and without one, are anybody's."""
    key = _BY_SPEC.get(name)
    if key is not None:
        key.read(name, value)
    elif name.partition(":")[0] in SPEC_SPACES and ":" in name:
        raise Invalid(f"Validation failed; extra spec '{name[:255]}' does not appear to be a valid extra spec.")


def resolve(specs: Mapping[str, str], properties: Mapping[str, Any], vcpus: int) -> Hardware:
    """The hardware of a guest. What an image says goes before what its flavor says, within the flavor's limits. Raises
    Invalid for what is refused, unknown or impossible together, with what to do."""
    found: dict[str, Any] = {}
    for name, value in specs.items():
        key = _BY_SPEC.get(name)
        if key is None and ":" in name and name.partition(":")[0] in SPEC_SPACES:
            raise Invalid(f"The flavor's extra spec {name[:255]} is not known: remove it from the flavor")
        if key is not None:
            _put(found, key, key.take(name, str(value), "flavor's extra spec"))
    limits: dict[str, Any] = {name: found.pop(name) for name in ("video_most", "rng_allowed") if name in found}
    ports = found.get("serial_ports")
    for name, value in properties.items():
        key = _BY_PROPERTY.get(name)
        if key is None and name.startswith(IMAGE_SPACES):
            raise Invalid(f"The image's property {name[:255]} is not known: remove it from the image")
        if key is not None:
            _put(found, key, key.take(name, str(value), "image's property"))
    if limits.get("rng_allowed") is False:
        found["rng"] = False
    _check_limits(found, limits, ports)
    _reword(found)
    return _with_topology(msgspec.convert(found, Hardware), vcpus)


def tolerate(specs: Mapping[str, str], properties: Mapping[str, Any], vcpus: int) -> Hardware:
    """As `resolve`, for a server that is there already: what it would refuse is left out."""
    try:
        return resolve(specs, properties, vcpus)
    except Invalid:
        kept = {name: value for name, value in specs.items() if _is_fine({name: value}, {}, vcpus)}
        also = {name: value for name, value in properties.items() if _is_fine({}, {name: value}, vcpus)}
        return resolve(kept, also, vcpus) if _is_fine(kept, also, vcpus) else PLAIN


def _is_fine(specs: Mapping[str, str], properties: Mapping[str, Any], vcpus: int) -> bool:
    try:
        resolve(specs, properties, vcpus)
    except Invalid:
        return False
    return True


def _put(found: dict[str, Any], key: Key, value: Any) -> None:
    if not key.field:
        return
    group, _, name = key.field.partition(".")
    if name:
        found.setdefault(group, {})[name] = value
    else:
        found[group] = value


def _reword(found: dict[str, Any]) -> None:
    """Words of Nova that stand for something else here."""
    for name, words in _WORDS.items():
        if name in found:
            found[name] = words.get(found[name], found[name])


def _check_limits(found: Mapping[str, Any], limits: Mapping[str, Any], ports: int | None) -> None:
    most = limits.get("video_most")
    if most is not None and found.get("video_mb", 0) > most:
        raise Invalid(f"The image's property hw_video_ram is more than the flavor's hw_video:ram_max_mb, {most}")
    if ports is not None and found["serial_ports"] > ports:
        raise Invalid(f"The image's property hw_serial_port_count is more than the flavor's, {ports}")
    if found.get("cdrom_bus") == "ide" and found.get("machine") == "q35":
        raise Invalid("A machine of type q35 has no IDE bus: set hw_cdrom_bus to sata or scsi")
    if found.get("disk_bus") == "ide" and found.get("machine") == "q35":
        raise Invalid("A machine of type q35 has no IDE bus: set hw_disk_bus to sata, scsi or virtio")
    for name in ("nic_in", "nic_out"):
        if (limit := found.get(name)) and "average" not in limit:
            raise Invalid("quota:vif_inbound_peak and _burst (outbound likewise) need quota:vif_inbound_average")


def _with_topology(wanted: Hardware, vcpus: int) -> Hardware:
    """Sockets, cores and threads that together are the guest's processors; what is not given follows."""
    given = (wanted.sockets, wanted.cores, wanted.threads)
    if not any(given):
        return wanted
    product = max(wanted.sockets, 1) * max(wanted.cores, 1) * max(wanted.threads, 1)
    rest, odd = divmod(vcpus, product)
    if odd or (all(given) and rest != 1) or rest == 0:
        raise Invalid(
            f"{vcpus} vCPUs cannot be laid out as {wanted.sockets or 'any'} sockets, {wanted.cores or 'any'} cores and "
            f"{wanted.threads or 'any'} threads"
        )
    sockets, cores, threads = (max(one, 1) for one in given)
    if not wanted.sockets:
        sockets *= rest
    elif not wanted.cores:
        cores *= rest
    else:
        threads *= rest
    return msgspec.structs.replace(wanted, sockets=sockets, cores=cores, threads=threads)
