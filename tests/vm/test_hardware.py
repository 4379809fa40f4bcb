"""Hardware that flavors and images ask for, in a real guest and in its live definition."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from cloud import RealCloud, virsh

pytestmark = pytest.mark.vm


def test_a_guest_has_what_its_flavor_and_image_say(cloud: RealCloud) -> None:
    api = cloud.api
    flavor = {"flavor": {"name": "shaped", "ram": 160, "vcpus": 2, "disk": 1}}
    flavor_id = api.post("/compute/v2.1/flavors", flavor)["flavor"]["id"]
    specs = {
        "hw:cpu_threads": "2", "quota:disk_read_iops_sec": "5000",
        "hw:watchdog_action": "reset", "hw:serial_port_count": "2", "hw_rng:rate_bytes": "4096",
        "hw_rng:rate_period": "1000", "hw:boot_menu": "true", "quota:cpu_shares": "2048",
    }  # fmt: skip
    api.post(f"/compute/v2.1/flavors/{flavor_id}/os-extra_specs", {"extra_specs": specs})
    source = api.image_id()
    image = api.get(f"/image/v2/images/{source}")
    new = {
        "name": "shaped", "disk_format": image["disk_format"], "container_format": "bare", "hw_disk_bus": "scsi",
        "hw_pointer_model": "usbtablet", "hw_time_hpet": "true", "hw_machine_type": "pc",
        "hw_video_model": "cirrus", "hw_cdrom_bus": "scsi", "img_config_drive": "mandatory",
    }  # fmt: skip
    made = api.post("/image/v2/images", new)["id"]
    api.put(f"/image/v2/images/{made}/file", content=api._send("GET", f"/image/v2/images/{source}/file").content)
    server = cloud.boot("shaped", imageRef=made, flavorRef=flavor_id)

    inside = cloud.ssh(
        server,
        "grep -c ^processor /proc/cpuinfo; grep -m1 siblings /proc/cpuinfo | cut -d: -f2;"
        " awk '$2 == \"/\" {print $1}' /proc/mounts; ls /sys/block | grep -c ^vd;"
        " basename $(readlink /sys/class/net/e*/device/driver)",
    ).split()
    assert inside[:2] == ["2", "2"]
    assert inside[2].startswith("/dev/sda")
    assert inside[3:] == ["0", "virtio_net"]
    live = ElementTree.fromstring(virsh("dumpxml", cloud.domain(server)))
    for path, text in (
        ("cputune/shares", "2048"), ("devices/disk[@device='disk']/iotune/read_iops_sec", "5000"),
    ):  # fmt: skip
        assert live.findtext(path) == text
    for path, name, value in (
        ("cpu/topology", "threads", "2"),
        ("devices/watchdog", "action", "reset"), ("devices/rng/rate", "bytes", "4096"),
        ("os/bootmenu", "enable", "yes"),
        ("devices/input[@type='tablet']", "bus", "usb"), ("devices/video/model", "type", "cirrus"),
        ("devices/disk[@device='cdrom']/target", "bus", "scsi"), ("clock/timer[@name='hpet']", "present", "yes"),
    ):  # fmt: skip
        found = live.find(path)
        assert found is not None, path
        assert found.get(name) == value
    assert len(live.findall("devices/serial")) == 2
    cloud.delete(server)
    assert cloud.traces(server) == []
    api.delete(f"/compute/v2.1/flavors/{flavor_id}")
    api.delete(f"/image/v2/images/{made}")
