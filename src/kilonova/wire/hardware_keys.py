"""The table of names: each extra spec and image property that Nova knows, and what becomes of it here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from kilonova.core.errors import Invalid

SPEC_SPACES: Final = frozenset({"hw", "hw_rng", "hw_video", "quota", "os", "accel", "pci_passthrough", "capabilities"})
"""Namespaces of extra specs whose names are all in the table."""
IMAGE_SPACES: Final = ("hw_", "os_", "img_")
"""How image properties begin whose names are all in the table."""

Read = Callable[[str, str], Any]
"""(name, value) → what it means. Raises Invalid."""

_PINNING: Final = "processors are not pinned"
_NUMA: Final = "guests have one NUMA cell"
_PAGES: Final = "guests' memory is not in huge pages"
_UEFI: Final = "guests start by BIOS"
_CLEAR: Final = "disks are not encrypted"
_OTHER: Final = "it is for another hypervisor"


@dataclass(frozen=True, slots=True)
class Key:
    """One line: its names, how its value reads, the field of `Hardware` that it becomes (`a.b`: an entry of one; empty:
    none), what that means; or the values that are refused (`refused` None: all), and why."""

    spec: str
    property: str
    read: Read
    values: str
    field: str = ""
    means: str = ""
    why: str = ""
    fine: Callable[[Any], bool] | None = None

    def take(self, name: str, value: str, what: str) -> Any:
        """What a value means for a new guest. Raises Invalid when it cannot be, or is refused."""
        found = self.read(name, value)
        if self.why and not (self.fine and self.fine(found)):
            raise Invalid(f"The {what} {name}={value[:64]} cannot be had: {self.why}")
        return found


def _whole(least: int, most: int = 2**31 - 1) -> tuple[Read, str]:
    def read(name: str, value: str) -> int:
        text = value.strip()
        if not re.fullmatch(r"-?[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise Invalid(f"Validation failed; {name} must be a number from {least} to {most}, not '{value[:64]}'")
        return int(text)

    return read, f"{least} … {most}"


def _one_of(*words: str) -> tuple[Read, str]:
    def read(name: str, value: str) -> str:
        if value not in words:
            raise Invalid(f"Validation failed; {name} must be one of {', '.join(words)}, not '{value[:64]}'")
        return value

    return read, ", ".join(words)


def _flag() -> tuple[Read, str]:
    def read(name: str, value: str) -> bool:
        word = value.strip().lower()
        if word not in ("true", "false", "yes", "no", "1", "0", "on", "off"):
            raise Invalid(f"Validation failed; {name} must be true or false, not '{value[:64]}'")
        return word in ("true", "yes", "1", "on")

    return read, "true, false"


def _text() -> tuple[Read, str]:
    return (lambda name, value: value), "any"


def _machine() -> tuple[Read, str]:
    def read(name: str, value: str) -> str:
        if re.fullmatch(r"pc|q35|pc-(i440fx|q35)-[0-9]{1,2}\.[0-9]{1,2}", value) is None:
            raise Invalid(f"Validation failed; {name} must be pc, q35 or a version of these, not '{value[:64]}'")
        return value

    return read, "pc, q35, pc-i440fx-N.N, pc-q35-N.N"


def _real(spec: str, prop: str, how: tuple[Read, str], field: str, means: str, **more: Any) -> Key:
    return Key(spec, prop, *how, field=field, means=means, **more)


def _told(spec: str, prop: str, how: tuple[Read, str], means: str) -> Key:
    return Key(spec, prop, *how, means=means)


def _not(spec: str, prop: str, how: tuple[Read, str], why: str, fine: Callable[[Any], bool] | None = None) -> Key:
    return Key(spec, prop, *how, why=why, fine=fine)


def _disk_limits() -> list[Key]:
    names = [f"{way}_{unit}_sec{tail}" for way in ("read", "write", "total") for unit in ("bytes", "iops")
             for tail in ("", "_max", "_max_length")]  # fmt: skip
    return [
        _real(f"quota:disk_{name}", "", _whole(0, 2**40), f"disk_limits.{name}", "`iotune` of each disk")
        for name in names
    ]


def _nic_limits() -> list[Key]:
    return [
        _real(f"quota:vif_{way}_{name}", "", _whole(1), f"nic_{way[:-5]}.{name}", f"`bandwidth` of each NIC, {way}")
        for way in ("inbound", "outbound")
        for name in ("average", "peak", "burst")
    ]


def _unrealised() -> list[Key]:
    numa = [_not(spec, prop, _text(), _NUMA) for spec, prop in (
        ("hw:pci_numa_affinity_policy", "hw_pci_numa_affinity_policy"), ("hw:emulator_threads_policy", ""),
        ("hw:cpu_realtime_mask", "hw_cpu_realtime_mask"), ("hw:cpu_dedicated_mask", ""), ("hw:pmu", "hw_pmu"),
        ("hw:locked_memory", "hw_locked_memory"), ("hw:maxphysaddr_mode", "hw_maxphysaddr_mode"),
        ("hw:maxphysaddr_bits", "hw_maxphysaddr_bits"), ("hw:viommu_model", "hw_viommu_model"),
        ("hw:virtio_packed_ring", "hw_virtio_packed_ring"), ("hw:mem_encryption", "hw_mem_encryption"),
        ("hw:mem_encryption_model", "hw_mem_encryption_model"), ("hw:sound_model", "hw_sound_model"),
        ("hw:usb_model", "hw_usb_model"), ("hw:redirected_usb_ports", "hw_redirected_usb_ports"),
    )]  # fmt: skip
    cells = [_not(f"hw:numa_{what}.{n}", f"hw_numa_{what}.{n}", _text(), _NUMA) for what in ("cpus", "mem")
             for n in range(8)]  # fmt: skip
    other = [_not(f"quota:{name}", "", _text(), _OTHER) for name in (
        "cpu_limit", "cpu_reservation", "cpu_shares_level", "cpu_shares_share", "memory_limit", "memory_reservation",
        "memory_shares_level", "memory_shares_share", "disk_io_limit", "disk_io_reservation", "disk_io_shares_level",
        "disk_io_shares_share", "vif_limit", "vif_reservation", "vif_shares_level", "vif_shares_share",
    )]  # fmt: skip
    later = [_not("", prop, _text(), why) for prop, why in (
        ("hw_rescue_bus", "the rescue disk is on the bus of the others"), ("hw_rescue_device", "it is always a disk"),
        ("hw_scsi_queues", "there is one queue"), ("os_command_line", "guests load their own kernel"),
        ("img_hide_hypervisor_id", "the hypervisor shows itself"), ("hw_boot_dev", "guests boot from disk"),
        ("img_block_device_mapping", "volumes are not built"), ("img_bdm_v2", "volumes are not built"),
        ("img_mappings", "volumes are not built"), ("img_root_device_name", "the root disk has its own name"),
        ("hw_emulation_architecture", "guests have the host's architecture"), ("hw_video_vram", "use hw_video_ram"),
        ("hw_ephemeral_encryption", _CLEAR), ("hw_ephemeral_encryption_format", _CLEAR),
        ("hw_ephemeral_encryption_secret_uuid", _CLEAR), ("img_linked_clone", _OTHER),
        ("img_use_agent", _OTHER), ("img_cache_in_nova", _OTHER), ("img_bittorrent", _OTHER), ("img_version", _OTHER),
        ("os_skip_agent_inject_files_at_boot", _OTHER), ("os_skip_agent_inject_ssh", _OTHER),
        ("img_compression_level", _OTHER), ("img_owner_id", _OTHER),
    )]  # fmt: skip
    return [*numa, *cells, *other, *later]


KEYS: Final[tuple[Key, ...]] = (
    _real("quota:cpu_shares", "", _whole(2, 262_144), "cpu_shares", "`cputune/shares`"),
    _real("quota:cpu_period", "", _whole(1_000, 1_000_000), "cpu_period", "`cputune/period`, µs"),
    _real("quota:cpu_quota", "", _whole(-1, 2**31 - 1), "cpu_quota", "`cputune/quota`, µs in each period"),
    *_disk_limits(),
    *_nic_limits(),
    _real("hw:cpu_sockets", "hw_cpu_sockets", _whole(1, 256), "sockets", "processor topology"),
    _real("hw:cpu_cores", "hw_cpu_cores", _whole(1, 256), "cores", "processor topology"),
    _real("hw:cpu_threads", "hw_cpu_threads", _whole(1, 256), "threads", "processor topology"),
    *(_not(f"hw:cpu_max_{n}", f"hw_cpu_max_{n}", _whole(1, 256), f"say hw:cpu_{n} itself")
      for n in ("sockets", "cores", "threads")),
    _not("hw:cpu_policy", "hw_cpu_policy", _one_of("shared", "dedicated", "mixed"), _PINNING, lambda v: v == "shared"),
    _not("hw:cpu_thread_policy", "hw_cpu_thread_policy", _one_of("prefer", "isolate", "require"), _PINNING),
    _not("hw:cpu_realtime", "hw_cpu_realtime", _flag(), _PINNING, lambda v: not v),
    _not("hw:numa_nodes", "hw_numa_nodes", _whole(1, 8), _NUMA, lambda v: v == 1),
    _not("hw:mem_page_size", "hw_mem_page_size", _text(), _PAGES, lambda v: v in ("small", "any")),
    _not("hw:pci_numa_policy", "", _text(), _NUMA),
    _real("hw:watchdog_action", "hw_watchdog_action", _one_of("disabled", "reset", "poweroff", "pause", "none"),
          "watchdog", "an i6300esb watchdog with this action; `disabled`: none"),
    _real("hw:boot_menu", "hw_boot_menu", _flag(), "boot_menu", "the BIOS asks what to boot"),
    _real("hw:serial_port_count", "hw_serial_port_count", _whole(1, 4), "serial_ports", "so many serial ports"),
    _not("hw:vif_multiqueue_enabled", "hw_vif_multiqueue_enabled", _flag(), "NICs have one queue", lambda v: not v),
    _not("hw:hide_hypervisor_id", "", _flag(), "the hypervisor shows itself", lambda v: not v),
    _not("hw:tpm_version", "hw_tpm_version", _text(), "there is no emulated TPM"),
    _not("hw:tpm_model", "hw_tpm_model", _text(), "there is no emulated TPM"),
    _not("hw:tpm_secret_security", "", _text(), "there is no emulated TPM"),
    _real("hw_rng:allowed", "", _flag(), "rng_allowed", "a random number device, unless false"),
    _real("hw_rng:rate_bytes", "", _whole(1), "rng_bytes", "bytes in each period"),
    _real("hw_rng:rate_period", "", _whole(1), "rng_period", "the period, ms"),
    _real("hw_video:ram_max_mb", "", _whole(0, 1024), "video_most", "the most that hw_video_ram may be"),
    _not("os:secure_boot", "os_secure_boot", _one_of("required", "disabled", "optional"), _UEFI,
         lambda v: v != "required"),
    _not("", "hw_firmware_type", _one_of("bios", "uefi"), _UEFI, lambda v: v == "bios"),
    _not("", "hw_firmware_stateless", _flag(), _UEFI, lambda v: not v),
    _real("", "hw_machine_type", _machine(), "machine", "the machine type"),
    _real("", "hw_disk_bus", _one_of("virtio", "scsi", "sata", "ide", "usb", "fdc", "lxc", "uml", "xen"), "disk_bus",
          "the disks' bus; the root disk is vda, sda or hda", why="use virtio, scsi, sata or ide",
          fine=lambda v: v in ("virtio", "scsi", "sata", "ide")),
    _not("", "hw_scsi_model", _text(), "use virtio-scsi", lambda v: v == "virtio-scsi"),
    _real("", "hw_cdrom_bus", _one_of("ide", "sata", "scsi"), "cdrom_bus", "the bus of the config drive"),
    _not("", "hw_floppy_bus", _text(), "there are no floppies"),
    _real("", "hw_vif_model", _one_of("virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "pcnet", "vmxnet3"),
          "nic_model", "the model of NICs", why="use virtio, e1000, e1000e, rtl8139",
          fine=lambda v: v in ("virtio", "e1000", "e1000e", "rtl8139")),
    _real("", "hw_video_model",
          _one_of("vga", "cirrus", "virtio", "bochs", "none", "qxl", "vmvga", "xen", "gop"), "video",
          "the screen's card", why="use vga, cirrus, virtio, bochs or none",
          fine=lambda v: v in ("vga", "cirrus", "virtio", "bochs", "none")),
    _real("", "hw_video_ram", _whole(1, 1024), "video_mb", "its memory, MiB"),
    _not("", "hw_rng_model", _text(), "use virtio", lambda v: v == "virtio"),
    _real("", "hw_qemu_guest_agent", _flag(), "agent", "a channel for the guest's agent, unless false"),
    _real("", "hw_pointer_model", _one_of("usbtablet", "ps2mouse"), "pointer", "a tablet beside the mouse"),
    _real("", "hw_input_bus", _one_of("usb", "virtio"), "pointer", "a tablet on this bus"),
    _real("", "hw_time_hpet", _flag(), "hpet", "an HPET timer"),
    _not("", "hw_architecture", _text(), "hosts are x86_64", lambda v: v in ("x86_64", "amd64")),
    _real("", "os_type", _one_of("linux", "windows"), "local_time", "`windows`: a clock in local time"),
    _told("", "os_distro", _text(), "for those who look"),
    _told("", "os_version", _text(), "for those who look"),
    _told("", "os_admin_user", _text(), "whose password changePassword changes"),
    _told("", "os_hidden", _text(), "Glance's own"),
    _not("", "os_require_quiesce", _flag(), "copies are quiet only where an agent answers", lambda v: not v),
    _real("", "os_shutdown_timeout", _whole(0, 3600), "stop_timeout", "how long a clean stop may take, seconds"),
    _real("", "img_config_drive", _one_of("mandatory", "optional"), "drive", "`mandatory`: a config drive"),
    *(_told("", f"img_signature{n}", _text(), "signatures are not checked, as without a key manager in Nova")
      for n in ("", "_hash_method", "_key_type", "_certificate_uuid")),
    *(_not(f"{space}:{name}", "", _text(), why) for space, name, why in (
        ("accel", "device_profile", "there is no accelerator service"),
        ("pci_passthrough", "alias", "devices are not passed through"),
        ("capabilities", "hypervisor_type", "ask by traits and aggregates"),
        ("capabilities", "cpu_info:features", "ask by traits and aggregates"),
        ("capabilities", "cpu_info:arch", "ask by traits and aggregates"),
        ("capabilities", "hypervisor_version", "ask by traits and aggregates"),
    )),
    *_unrealised(),
)  # fmt: skip
