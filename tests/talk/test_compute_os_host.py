"""Hosts by name, as they were shown to microversion 2.42."""

from __future__ import annotations

import re

from compute_world import Site, fault

OLD = {"openstack-api-version": "compute 2.42"}


async def test_what_projects_have_on_a_host(site: Site) -> None:
    await site.boot()
    await site.boot(site.bob)
    listed = (await site.admin.get("/os-hosts", headers=OLD)).json()["hosts"]
    assert listed == [{"host_name": "host1", "service": "compute", "zone": "nova"}]
    assert (await site.admin.get("/os-hosts?zone=nowhere", headers=OLD)).json() == {"hosts": []}
    rows = [one["resource"] for one in (await site.admin.get("/os-hosts/host1", headers=OLD)).json()["host"]]
    by_name = {row["project"]: row for row in rows}
    assert list(by_name)[:3] == ["(total)", "(used_now)", "(used_max)"]
    owners = [row for name, row in by_name.items() if not name.startswith("(")]
    assert len(owners) == 2
    for key in ("cpu", "memory_mb", "disk_gb"):
        assert sum(row[key] for row in owners) == by_name["(used_max)"][key]
        assert by_name["(used_max)"][key] <= by_name["(used_now)"][key] <= by_name["(total)"][key]
    assert {row["host"] for row in rows} == {"host1"}


async def test_a_host_is_taken_out_and_back(still: Site) -> None:
    off = await still.admin.put("/os-hosts/host1", json={"status": "disable"}, headers=OLD)
    assert off.json() == {"host": "host1", "status": "disabled"}
    assert (await still.admin.get("/os-services")).json()["services"][0]["status"] == "disabled"
    on = await still.admin.put("/os-hosts/host1", json={"status": "Enable"}, headers=OLD)
    assert on.json()["status"] == "enabled"
    for body, status in (({}, 400), ({"status": "maybe"}, 400), ({"maintenance_mode": "enable"}, 501), ({"x": 1}, 400)):
        assert (await still.admin.put("/os-hosts/host1", json=body, headers=OLD)).status_code == status, body
    assert (await still.admin.get("/os-services")).json()["services"][0]["status"] == "enabled"


async def test_who_may_and_until_when(still: Site) -> None:
    for method, path in (("GET", "/os-hosts"), ("GET", "/os-hosts/host1"), ("PUT", "/os-hosts/host1")):
        body = {"status": "disable"} if method == "PUT" else None
        assert (await still.ann.request(method, path, json=body, headers=OLD)).status_code == 403
        assert (await still.admin.request(method, path, json=body)).status_code == 404
    assert fault(await still.admin.get("/os-hosts/nowhere", headers=OLD))[0] == 404
    assert (await still.admin.get("/os-hosts/host1/reboot", headers=OLD)).status_code == 501


async def test_how_long_a_host_has_been_up(still: Site) -> None:
    old = {"openstack-api-version": "compute 2.87"}
    [one] = (await still.admin.get("/os-hypervisors", headers=old)).json()["hypervisors"]
    path = f"/os-hypervisors/{one['id']}/uptime"
    told = (await still.admin.get(path, headers=old)).json()["hypervisor"]
    assert told["hypervisor_hostname"] == "host1"
    assert re.fullmatch(r" \d\d:\d\d:\d\d up \d{4,} days, (\d+:\d\d|\d+ min)", told["uptime"])
    assert (await still.ann.get(path, headers=old)).status_code == 403
    assert (await still.admin.get(path)).status_code == 404
    [shown] = (await still.admin.get("/os-hypervisors/detail")).json()["hypervisors"]
    assert shown["uptime"].partition(" up ")[2] == told["uptime"].partition(" up ")[2]
    host = one["id"]
    assert (await still.admin.put(f"/os-services/{host}", json={"forced_down": True})).status_code == 200
    assert fault(await still.admin.get(path, headers=old))[0] == 400
    assert (await still.admin.get(f"/os-hypervisors/{host}")).json()["hypervisor"]["uptime"] is None


async def test_disk_configuration_is_changed_by_an_update(still: Site) -> None:
    server = await still.make()
    for wanted in ("AUTO", "MANUAL"):
        changed = await still.ann.put(f"/servers/{server}", json={"server": {"OS-DCF:diskConfig": wanted}})
        assert changed.json()["server"]["OS-DCF:diskConfig"] == wanted
        assert (await still.ann.get(f"/servers/{server}")).json()["server"]["OS-DCF:diskConfig"] == wanted
    bad = await still.ann.put(f"/servers/{server}", json={"server": {"OS-DCF:diskConfig": "auto"}})
    assert bad.status_code == 400
    other = await still.bob.put(f"/servers/{server}", json={"server": {"OS-DCF:diskConfig": "AUTO"}})
    assert other.status_code == 404
