"""The libvirt definition of a guest (format: libvirt's "Domain XML format").

Pure: the same arguments give the same text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from kilonova.node.driver.virt import hardware_xml
from kilonova.node.driver.virt.hardware_xml import LETTERS
from kilonova.node.driver.virt.port import DiskDevice, NicDevice
from kilonova.wire.guest import GuestSpec
from kilonova.wire.hardware import PLAIN, Hardware

Accelerator = Literal["kvm", "tcg"]

NAMESPACE = "urn:kilonova:guest:1"
AGENT_CHANNEL = "org.qemu.guest_agent.0"
TRANSLATION_CACHE_MB = 64
"""Memory for translated code of each guest under TCG; QEMU's own default is far larger and buys small guests little."""

_ORDER = ("rescue", "root", "ephemeral", "swap")

ElementTree.register_namespace("kilonova", NAMESPACE)


@dataclass(frozen=True, slots=True)
class Host:
    """What of a definition depends on the host: whose guests they are, how they run, where consoles are logged, and
    where the sockets of serial ports are."""

    cloud_id: str
    accelerator: Accelerator
    console_directory: Path
    version: str
    run_directory: Path


def domain_name(cloud_id: str, server_id: str) -> str:
    """The domain's name: it carries the cloud's id."""
    return f"kn-{cloud_id}-{server_id}"


def console_path(directory: Path, server_id: str) -> Path:
    """Where virtlogd writes what the guest says on its serial console."""
    return directory / f"{server_id}.log"


def serial_path(directory: Path, server_id: str) -> Path:
    """The socket of a guest's serial port."""
    return directory / f"{server_id}.serial"


def build(host: Host, spec: GuestSpec, disks: tuple[DiskDevice, ...], nics: tuple[NicDevice, ...]) -> str:
    """The whole domain, for virDomainDefineXML. NICs without a bridge (a fake network) are left out."""
    domain = Element("domain", type="kvm" if host.accelerator == "kvm" else "qemu")
    _text(domain, "name", domain_name(host.cloud_id, spec.server_id))
    _text(domain, "uuid", spec.server_id)
    _text(domain, "title", spec.name[:200].replace("\n", " ") or spec.server_id)
    metadata = SubElement(domain, "metadata")
    SubElement(metadata, f"{{{NAMESPACE}}}guest", cloud=host.cloud_id, fence=str(spec.fence))
    _text(domain, "memory", str(spec.memory_mb), unit="MiB")
    _text(domain, "vcpu", str(spec.vcpus))
    hardware_xml.add_tuning(domain, spec.hardware)
    _add_firmware(domain, spec, host.version)
    _add_processor(domain, host.accelerator, spec.hardware)
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    devices = SubElement(domain, "devices")
    for device in name_disks(disks, spec.hardware):
        _add_disk(devices, spec.hardware, *device)
    for nic in nics:
        if nic.bridge:
            devices.append(nic_element(nic, spec.hardware))
    log = console_path(host.console_directory, spec.server_id)
    _add_serial(devices, log, serial_path(host.run_directory, spec.server_id))
    if spec.hardware.agent:
        channel = SubElement(devices, "channel", type="unix")
        SubElement(channel, "target", type="virtio", name=AGENT_CHANNEL)
    hardware_xml.add_devices(devices, spec.hardware)
    return ElementTree.tostring(domain, encoding="unicode")


def parse_metadata(text: str) -> tuple[str, int]:
    """(cloud id, fence) of our metadata element as libvirt returns it. Raises ValueError when it is not ours."""
    try:
        element = ElementTree.fromstring(text)  # noqa: S314 (libvirtd's own answer)
        return element.attrib["cloud"], int(element.attrib["fence"])
    except (ElementTree.ParseError, KeyError) as error:
        raise ValueError("not the metadata of a kilonova guest") from error


def agent_connected(text: str) -> bool:
    """Whether the guest agent inside a running domain has opened its channel, by the domain's live XML."""
    domain = ElementTree.fromstring(text)  # noqa: S314 (libvirtd's own answer)
    return any(
        target.get("name") == AGENT_CHANNEL and target.get("state") == "connected"
        for target in domain.iterfind("devices/channel/target")
    )


def _text(parent: Element, tag: str, text: str, **attributes: str) -> Element:
    element = SubElement(parent, tag, attributes)
    element.text = "".join(character for character in text if character.isprintable())
    return element


def _add_firmware(domain: Element, spec: GuestSpec, version: str) -> None:
    # cloud-init (ds-identify) takes a machine with this product name for an OpenStack guest without asking the network.
    sysinfo = SubElement(SubElement(domain, "sysinfo", type="smbios"), "system")
    _text(sysinfo, "entry", "kilonova", name="manufacturer")
    _text(sysinfo, "entry", "OpenStack Nova", name="product")
    _text(sysinfo, "entry", version, name="version")
    _text(sysinfo, "entry", spec.server_id, name="serial")
    _text(sysinfo, "entry", spec.server_id, name="uuid")
    _text(sysinfo, "entry", "Virtual Machine", name="family")
    system = SubElement(domain, "os")
    # i440FX boots in less processor time than q35 under emulation, and takes hot-plugged devices without root ports.
    _text(system, "type", "hvm", arch="x86_64", machine=spec.hardware.machine)
    SubElement(system, "boot", dev="hd")
    if spec.hardware.boot_menu:
        SubElement(system, "bootmenu", enable="yes")
    SubElement(system, "smbios", mode="sysinfo")


def _add_processor(domain: Element, accelerator: Accelerator, hardware: Hardware) -> None:
    features = SubElement(domain, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    SubElement(features, "vmport", state="off")
    if accelerator == "kvm":
        cpu = SubElement(domain, "cpu", mode="host-passthrough")
    else:
        _text(SubElement(features, "tcg"), "tb-cache", str(TRANSLATION_CACHE_MB), unit="MiB")
        # The level that today's distributions ask for (x86-64-v2); emulating more only costs time.
        cpu = SubElement(domain, "cpu", mode="custom", match="exact")
        _text(cpu, "model", "Nehalem", fallback="allow")
    hardware_xml.add_topology(cpu, hardware)
    clock = SubElement(domain, "clock", offset="localtime" if hardware.local_time else "utc")
    SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    SubElement(clock, "timer", name="pit", tickpolicy="delay")
    SubElement(clock, "timer", name="hpet", present="yes" if hardware.hpet else "no")


def name_disks(disks: tuple[DiskDevice, ...], hardware: Hardware = PLAIN) -> list[tuple[DiskDevice, str, str]]:
    """Each disk with its place in the guest and its serial: what it starts from first, so that a guest which looks for
    its root by a label finds the rescue disk before its own root with the same one."""
    prefix, drive = LETTERS[hardware.disk_bus], hardware_xml.cdrom_bus(hardware)
    writable = sorted((disk for disk in disks if disk.role != "config"), key=lambda disk: _ORDER.index(disk.role))
    named = []
    seen = dict.fromkeys(_ORDER, 0)
    for letter, disk in zip("abcdefghijklmnopqrstuvwxyz", writable, strict=False):
        serial = f"ephemeral{seen['ephemeral']}" if disk.role == "ephemeral" else disk.role
        seen[disk.role] += 1
        named.append((disk, f"{prefix}{letter}", serial))
    # Behind the disks where both are on one bus.
    place = LETTERS[drive] + ("z" if LETTERS[drive] == prefix else "a")
    return named + [(disk, "hdd" if place == "hdz" else place, "config") for disk in disks if disk.role == "config"][:1]


def _add_disk(devices: Element, hardware: Hardware, disk: DiskDevice, target: str, serial: str) -> None:
    config = disk.role == "config"
    element = SubElement(devices, "disk", type="file", device="cdrom" if config else "disk")
    # The host's page cache holds an image once for all guests on it; a guest's flush still reaches the disk.
    driver = SubElement(element, "driver", name="qemu", type=disk.format, cache="writeback")
    SubElement(element, "source", file=str(disk.path))
    SubElement(element, "target", dev=target, bus=hardware_xml.cdrom_bus(hardware) if config else hardware.disk_bus)
    if not config:
        hardware_xml.add_disk_limits(element, hardware)
    _text(element, "serial", serial)
    if config:
        SubElement(element, "readonly")
    else:
        driver.set("discard", "unmap")


def nic_element(nic: NicDevice, hardware: Hardware) -> Element:
    """A NIC as libvirt wants it, in a definition or by itself."""
    element = Element("interface", type="bridge")
    SubElement(element, "mac", address=nic.mac)
    SubElement(element, "source", bridge=nic.bridge)
    SubElement(element, "target", dev=nic.device)
    SubElement(element, "model", type=hardware.nic_model)
    hardware_xml.add_nic_limits(element, hardware)
    if nic.mtu:
        SubElement(element, "mtu", size=str(nic.mtu))
    # Guests boot from disk: the card's boot ROM would only cost start-up time.
    SubElement(element, "rom", enabled="no")
    return element


def _add_serial(devices: Element, log: Path, socket: Path) -> None:
    serial = SubElement(devices, "serial", type="unix")
    SubElement(serial, "source", mode="bind", path=str(socket))
    SubElement(serial, "log", file=str(log), append="on")
    SubElement(serial, "target", port="0")
