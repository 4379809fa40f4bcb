"""Hosts by name, as they were shown to microversion 2.42."""

from __future__ import annotations

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
