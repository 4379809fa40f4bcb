"""What libvirt is told of a guest."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from kilonova.node.driver.virt.domain_xml import Accelerator, Host, agent_connected, build, parse_metadata
from kilonova.node.driver.virt.port import DiskDevice, NicDevice
from kilonova.wire.guest import GuestSpec

SERVER = "6a1c0c0e-3d2a-4c39-9d9a-0a7b1b5f7c11"
ROOT = DiskDevice("root", Path("/d/root.qcow2"), "qcow2")
CONFIG = DiskDevice("config", Path("/d/config.iso"), "raw")
SWAP = DiskDevice("swap", Path("/d/swap"), "raw")


def ephemeral(number: int) -> DiskDevice:
    return DiskDevice("ephemeral", Path(f"/d/e{number}"), "qcow2")


def define(
    *disks: DiskDevice, nics: tuple[NicDevice, ...] = (), accelerator: Accelerator = "tcg", name: str = "web"
) -> ElementTree.Element:
    spec = GuestSpec(server_id=SERVER, fence=4, version=1, power="running", name=name, vcpus=2, memory_mb=96)
    return ElementTree.fromstring(build(Host("bbbb01", accelerator, Path("/c"), "9.9", Path("/r")), spec, disks, nics))


def test_a_domain_carries_the_cloud_and_the_server_in_name_uuid_and_metadata() -> None:
    domain = define()
    assert domain.findtext("name") == f"kn-bbbb01-{SERVER}"
    assert domain.findtext("uuid") == SERVER
    metadata = domain.find("metadata/*")
    assert metadata is not None
    assert parse_metadata(ElementTree.tostring(metadata, encoding="unicode")) == ("bbbb01", 4)
    assert (domain.findtext("vcpu"), domain.findtext("memory")) == ("2", "96")


@pytest.mark.parametrize("text", ["", "<guest/>", "<guest cloud='a'/>", "<guest cloud='a' fence='x'/>", "<"])
def test_metadata_of_others_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_metadata(text)


def test_disks_come_in_the_order_that_images_expect() -> None:
    domain = define(SWAP, CONFIG, ephemeral(0), ROOT, ephemeral(1))
    found = []
    for disk in domain.iterfind("devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        assert source is not None
        assert target is not None
        found.append((source.get("file"), target.get("dev"), disk.findtext("serial"), disk.get("device")))
    assert found == [
        ("/d/root.qcow2", "vda", "root", "disk"),
        ("/d/e0", "vdb", "ephemeral0", "disk"),
        ("/d/e1", "vdc", "ephemeral1", "disk"),
        ("/d/swap", "vdd", "swap", "disk"),
        ("/d/config.iso", "hda", "config", "cdrom"),
    ]
    readonly = [disk.find("readonly") is not None for disk in domain.iterfind("devices/disk")]
    assert readonly == [False] * 4 + [True]


def test_a_guest_that_is_rescued_starts_from_the_rescue_disk_and_has_its_own_beside_it() -> None:
    domain = define(ROOT, DiskDevice("rescue", Path("/d/rescue"), "qcow2"), CONFIG)
    found = [(disk.findtext("serial"), target.get("dev")) for disk in domain.iterfind("devices/disk")
             for target in disk.iterfind("target")]  # fmt: skip
    assert found == [("rescue", "vda"), ("root", "vdb"), ("config", "hda")]


def test_nics_plug_into_bridges_and_fake_ones_into_nothing() -> None:
    real = NicDevice("p1", "fa:16:3e:00:00:01", "kbbbb01-b", "kbbbb01-t", 1450)
    fake = NicDevice("p2", "fa:16:3e:00:00:02", "", "", 0)
    (nic,) = define(ROOT, nics=(real, fake)).iterfind("devices/interface")
    assert [(e.tag, e.attrib) for e in nic][:5] == [
        ("mac", {"address": "fa:16:3e:00:00:01"}),
        ("source", {"bridge": "kbbbb01-b"}),
        ("target", {"dev": "kbbbb01-t"}),
        ("model", {"type": "virtio"}),
        ("mtu", {"size": "1450"}),
    ]


def test_kvm_and_emulation_differ_where_they_must() -> None:
    emulated, accelerated = define(), define(accelerator="kvm")
    assert (emulated.get("type"), accelerated.get("type")) == ("qemu", "kvm")
    assert emulated.findtext("features/tcg/tb-cache") == "64"
    assert accelerated.find("features/tcg") is None


def test_hostile_names_stay_text() -> None:
    assert define(name="</title>\x00<x>&\n").findtext("title") == "</title><x>& "


def test_the_firmware_says_what_cloud_init_looks_for() -> None:
    entries = {e.get("name"): e.text for e in define().iterfind("sysinfo/system/entry")}
    assert entries["product"] == "OpenStack Nova"
    assert entries["uuid"] == entries["serial"] == SERVER


@pytest.mark.parametrize(("state", "connected"), [("connected", True), ("disconnected", False), ("", False)])
def test_the_agent_is_connected_when_libvirt_says_so(state: str, connected: bool) -> None:
    domain = define()
    (target,) = domain.iterfind("devices/channel/target")
    target.set("state", state)
    assert agent_connected(ElementTree.tostring(domain, encoding="unicode")) is connected
