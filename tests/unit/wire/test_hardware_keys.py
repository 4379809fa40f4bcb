"""Each name of the table is realised in the definition, only tells something, or is refused; nothing else is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_table import FILE, render
from kilonova.core.errors import Invalid
from kilonova.node.driver.virt.domain_xml import Host, build
from kilonova.node.driver.virt.port import DiskDevice, NicDevice
from kilonova.wire.guest import GuestSpec
from kilonova.wire.hardware import PLAIN, Hardware, check_spec, resolve, tolerate
from kilonova.wire.hardware_keys import KEYS, Key

HOST = Host("aaaa01", "tcg", Path("/c"), "1", Path("/r"))
DISKS = (DiskDevice("root", Path("/d/root"), "qcow2"), DiskDevice("config", Path("/d/config"), "raw"))
NICS = (NicDevice("p", "fa:16:3e:00:00:01", "br", "tap", 1500),)
WORDS = st.one_of(
    st.sampled_from(
        ["true", "false", "1", "4", "64", "1000", "virtio", "scsi", "q35", "windows", "", "required", "reset", "shared",
         "none", "mandatory", "uefi", "usb", "x86_64", "-1", "1.5"]
    ),
    st.text(max_size=6), st.integers(-5, 2000).map(str),
)  # fmt: skip


def spec_of(hardware: Hardware, vcpus: int = 4) -> GuestSpec:
    return GuestSpec(server_id="s", fence=1, version=1, power="running", vcpus=vcpus, hardware=hardware)


def defined(hardware: Hardware, vcpus: int = 4) -> ElementTree.Element:
    return ElementTree.fromstring(build(HOST, spec_of(hardware, vcpus), DISKS, NICS))


def text_of(hardware: Hardware) -> str:
    return ElementTree.tostring(defined(hardware), encoding="unicode")


@pytest.mark.parametrize(
    ("specs", "image", "path", "found"),
    [
        ({"quota:cpu_shares": "512"}, {}, "cputune/shares", "512"),
        ({"quota:cpu_quota": "50000", "quota:cpu_period": "100000"}, {}, "cputune/quota", "50000"),
        ({"quota:disk_read_bytes_sec": "1048576"}, {}, "devices/disk/iotune/read_bytes_sec", "1048576"),
        ({"quota:disk_total_iops_sec_max": "9"}, {}, "devices/disk/iotune/total_iops_sec_max", "9"),
        ({"quota:vif_inbound_average": "100", "quota:vif_inbound_peak": "200"}, {},
         "devices/interface/bandwidth/inbound", {"average": "100", "peak": "200"}),
        ({"quota:vif_outbound_average": "7"}, {}, "devices/interface/bandwidth/outbound", {"average": "7"}),
        ({"hw:cpu_cores": "2"}, {}, "cpu/topology", {"sockets": "2", "dies": "1", "cores": "2", "threads": "1"}),
        ({}, {"hw_cpu_sockets": "1", "hw_cpu_threads": "2"}, "cpu/topology",
         {"sockets": "1", "dies": "1", "cores": "2", "threads": "2"}),
        ({"hw:watchdog_action": "reset"}, {}, "devices/watchdog", {"model": "i6300esb", "action": "reset"}),
        ({"hw:watchdog_action": "reset"}, {"hw_watchdog_action": "poweroff"}, "devices/watchdog",
         {"model": "i6300esb", "action": "poweroff"}),
        ({"hw:boot_menu": "true"}, {}, "os/bootmenu", {"enable": "yes"}),
        ({"hw_rng:rate_bytes": "64", "hw_rng:rate_period": "1000"}, {}, "devices/rng/rate",
         {"bytes": "64", "period": "1000"}),
        ({}, {"hw_machine_type": "q35"}, "os/type", {"arch": "x86_64", "machine": "q35"}),
        ({}, {"hw_disk_bus": "scsi"}, "devices/disk/target", {"dev": "sda", "bus": "scsi"}),
        ({}, {"hw_disk_bus": "ide"}, "devices/disk/target", {"dev": "hda", "bus": "ide"}),
        ({}, {"hw_disk_bus": "sata"}, "devices/disk/target", {"dev": "sda", "bus": "sata"}),
        ({}, {"hw_cdrom_bus": "sata"}, "devices/disk[@device='cdrom']/target", {"dev": "sda", "bus": "sata"}),
        ({}, {"hw_machine_type": "q35"}, "devices/disk[@device='cdrom']/target", {"dev": "sda", "bus": "sata"}),
        ({}, {"hw_vif_model": "e1000"}, "devices/interface/model", {"type": "e1000"}),
        ({"hw_video:ram_max_mb": "64"}, {"hw_video_ram": "32"}, "devices/video/model",
         {"type": "vga", "vram": "32768"}),
        ({}, {"hw_video_model": "cirrus"}, "devices/video/model", {"type": "cirrus", "vram": "16384"}),
        ({}, {"hw_pointer_model": "usbtablet"}, "devices/input", {"type": "tablet", "bus": "usb"}),
        ({}, {"hw_input_bus": "virtio"}, "devices/input", {"type": "tablet", "bus": "virtio"}),
        ({}, {"hw_time_hpet": "true"}, "clock/timer[@name='hpet']", {"name": "hpet", "present": "yes"}),
        ({}, {"os_type": "windows"}, "clock", {"offset": "localtime"}),
        ({"hw:serial_port_count": "3"}, {}, "devices/serial[3]/target", {"port": "2"}),
    ],
)  # fmt: skip
def test_what_is_realised_stands_in_the_definition(specs: Any, image: Any, path: str, found: Any) -> None:
    element = defined(resolve(specs, image, 4)).find(path)
    assert element is not None
    assert (element.text if isinstance(found, str) else element.attrib) == found


def test_what_is_taken_away() -> None:
    assert defined(PLAIN).find("devices/rng") is not None
    assert defined(resolve({"hw_rng:allowed": "false"}, {}, 1)).find("devices/rng") is None
    assert defined(PLAIN).find("devices/channel") is not None
    assert defined(resolve({}, {"hw_qemu_guest_agent": "no"}, 1)).find("devices/channel") is None
    bare = defined(resolve({}, {"hw_video_model": "none"}, 1))
    assert (bare.find("devices/video"), bare.find("devices/graphics")) == (None, None)
    assert resolve({}, {"os_shutdown_timeout": "5"}, 1).stop_timeout == 5
    assert resolve({}, {"img_config_drive": "mandatory"}, 1).drive


@pytest.mark.parametrize(
    ("specs", "image"),
    [
        ({"hw:cpu_policy": "dedicated"}, {}), ({"hw:numa_nodes": "2"}, {}), ({"hw:mem_page_size": "large"}, {}),
        ({"os:secure_boot": "required"}, {}), ({}, {"hw_firmware_type": "uefi"}), ({}, {"hw_tpm_version": "2.0"}),
        ({}, {"hw_disk_bus": "fdc"}), ({}, {"hw_vif_model": "pcnet"}), ({}, {"hw_video_model": "qxl"}),
        ({"hw:nonsense": "1"}, {}), ({}, {"hw_nonsense": "1"}), ({"quota:cpu_shares": "many"}, {}),
        ({"hw_video:ram_max_mb": "8"}, {"hw_video_ram": "16"}), ({"hw:cpu_sockets": "3"}, {}),
        ({"hw:cpu_sockets": "4", "hw:cpu_cores": "2"}, {}), ({"quota:vif_inbound_peak": "5"}, {}),
        ({}, {"hw_machine_type": "q35", "hw_disk_bus": "ide"}),
        ({"hw:serial_port_count": "1"}, {"hw_serial_port_count": "2"}),
        ({"quota:memory_limit": "5"}, {}), ({"accel:device_profile": "x"}, {}), ({}, {"os_require_quiesce": "yes"}),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_refused_with_its_name(specs: Any, image: Any) -> None:
    with pytest.raises(Invalid) as refused:
        resolve(specs, image, 4)
    names = [*specs, *image]
    assert any(name.replace("_peak", "") in refused.value.message or "vCPUs" in refused.value.message for name in names)
    assert tolerate(specs, image, 4).machine.startswith("pc") or "hw_machine_type" in image


def test_names_of_others_pass() -> None:
    assert resolve({"gold": "1", "aggregate_instance_extra_specs:ssd": "true", "trait:CUSTOM_X": "required"},
                   {"owner_note": "mine", "architecture": "x86_64"}, 1) == PLAIN  # fmt: skip
    check_spec("gold", "anything")
    check_spec("custom:thing", "anything")


@given(st.dictionaries(st.sampled_from([k.spec for k in KEYS if k.spec]), WORDS, max_size=4),
       st.dictionaries(st.sampled_from([k.property for k in KEYS if k.property]), WORDS, max_size=4),
       st.integers(1, 8))  # fmt: skip
@settings(deadline=None)
def test_whatever_is_said_is_realised_or_refused(specs: dict[str, str], image: dict[str, str], vcpus: int) -> None:
    try:
        found = resolve(specs, image, vcpus)
    except Invalid:
        found = tolerate(specs, image, vcpus)
    assert msgspec.convert(msgspec.to_builtins(found), Hardware) == found
    assert defined(found, vcpus).tag == "domain"


VALUES = (
    "true", "false", "1", "2", "64", "4096", "virtio", "scsi", "q35", "reset", "windows", "none", "cirrus", "e1000",
    "required", "uefi", "dedicated", "sata", "usbtablet", "usb", "mandatory", "isolate", "large", "arm64", "x",
)  # fmt: skip
BESIDE = {
    "rng_period": ({"hw_rng:rate_bytes": "1"}, {}), "video_most": ({}, {"hw_video_ram": "32"}),
    "nic_in": ({"quota:vif_inbound_average": "9"}, {}), "nic_out": ({"quota:vif_outbound_average": "9"}, {}),
}  # fmt: skip
"""What must be said beside a name for it to mean something."""


def outcome(specs: dict[str, str], image: dict[str, str]) -> Hardware | str:
    try:
        return resolve(specs, image, 64)
    except Invalid as failure:
        return failure.message


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.spec or key.property)
def test_each_line_of_the_table_does_something(key: Key) -> None:
    """Under some value a guest is another one, or is refused for the reason that stands there; the others tell."""
    specs, image = BESIDE.get(key.field.partition(".")[0], ({}, {}))
    said = [({**specs, key.spec: value}, image) for value in VALUES if key.spec]
    said += [(specs, {**image, key.property: value}) for value in VALUES if key.property]
    found = [outcome(*one) for one in said]
    realised = any(isinstance(one, Hardware) and one != outcome(specs, image) for one in found)
    refused = any(isinstance(one, str) and (key.why or "ram_max_mb") in one for one in found)
    assert realised or refused or (key.means and not key.field)


def test_the_page_says_what_the_table_says() -> None:
    assert FILE.read_text() == render(), "run python tests/hardware_table.py"
