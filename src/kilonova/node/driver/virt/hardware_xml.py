"""What a guest's hardware adds to its definition (format: libvirt's "Domain XML format")."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, SubElement

from kilonova.wire.hardware import Hardware

LETTERS: Final = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd"}
"""How a guest calls the disks of a bus."""


def add_tuning(domain: Element, hardware: Hardware) -> None:
    """Shares and quota of the guest's processors."""
    wanted = {"shares": hardware.cpu_shares, "period": hardware.cpu_period, "quota": hardware.cpu_quota}
    if any(wanted.values()):
        tuning = SubElement(domain, "cputune")
        for name, value in wanted.items():
            if value:
                SubElement(tuning, name).text = str(value)


def add_topology(cpu: Element, hardware: Hardware) -> None:
    """Sockets, cores and threads."""
    if hardware.sockets:
        SubElement(
            cpu, "topology", sockets=str(hardware.sockets), dies="1", cores=str(hardware.cores),
            threads=str(hardware.threads),
        )  # fmt: skip


def add_disk_limits(disk: Element, hardware: Hardware) -> None:
    """What a disk may read and write at most."""
    if hardware.disk_limits:
        tune = SubElement(disk, "iotune")
        for name, value in sorted(hardware.disk_limits.items()):
            SubElement(tune, name).text = str(value)


def add_nic_limits(nic: Element, hardware: Hardware) -> None:
    """What a NIC may receive and send at most."""
    if hardware.nic_in or hardware.nic_out:
        band = SubElement(nic, "bandwidth")
        for name, limit in (("inbound", hardware.nic_in), ("outbound", hardware.nic_out)):
            if limit:
                SubElement(band, name, {key: str(value) for key, value in sorted(limit.items())})


def add_devices(devices: Element, hardware: Hardware) -> None:
    """Screen, controllers, watchdog, random numbers, pointer, further serial ports."""
    if hardware.video != "none":
        # libvirt names the socket, in a folder that only QEMU's user and root can enter.
        SubElement(SubElement(devices, "graphics", type="vnc"), "listen", type="socket")
        model = SubElement(SubElement(devices, "video"), "model", type=hardware.video)
        if hardware.video in ("vga", "cirrus"):
            model.set("vram", str(hardware.video_mb * 1024))
    if hardware.disk_bus == "scsi" or hardware.cdrom_bus == "scsi":
        SubElement(devices, "controller", type="scsi", index="0", model="virtio-scsi")
    # Polling an emulated USB controller costs an idle host processor time.
    SubElement(devices, "controller", type="usb", model="qemu-xhci" if hardware.pointer == "usb" else "none")
    if hardware.pointer:
        SubElement(devices, "input", type="tablet", bus=hardware.pointer)
    SubElement(devices, "memballoon", model="virtio")
    if hardware.watchdog:
        SubElement(devices, "watchdog", model="i6300esb", action=hardware.watchdog)
    if hardware.rng:
        _add_random(devices, hardware)
    for number in range(1, hardware.serial_ports):
        SubElement(SubElement(devices, "serial", type="pty"), "target", port=str(number))


def _add_random(devices: Element, hardware: Hardware) -> None:
    rng = SubElement(devices, "rng", model="virtio")
    if hardware.rng_bytes:
        rate = SubElement(rng, "rate", bytes=str(hardware.rng_bytes))
        if hardware.rng_period:
            rate.set("period", str(hardware.rng_period))
    SubElement(rng, "backend", model="random").text = "/dev/urandom"


def cdrom_bus(hardware: Hardware) -> str:
    """Where the config drive is: q35 has no IDE."""
    return hardware.cdrom_bus or ("sata" if "q35" in hardware.machine else "ide")
