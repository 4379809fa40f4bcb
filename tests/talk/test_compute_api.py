"""The Compute API over HTTP against a whole small cloud: what clients send and get."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Any

import httpx
from compute_world import Site, act, caller, fault

from kilonova.core.context import ALL

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHcTIZQ9hbP3sC0MPsQVZ6lBEXzC4wwg7jJ9Ga3TKlXk x"
GHOST = "00000000-0000-4000-8000-000000000000"


async def names(client: httpx.AsyncClient, query: str = "") -> list[str]:
    answer = await client.get(f"/servers{query}")
    assert answer.status_code == 200, answer.text
    return [server["name"] for server in answer.json()["servers"]]


async def test_versions_are_found_as_clients_look_for_them(site: Site) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site.app), base_url="http://cloud:1/compute") as anyone:
        listed = (await anyone.get("/")).json()["versions"][0]
        assert (listed["id"], listed["status"], listed["min_version"]) == ("v2.1", "CURRENT", "2.1")
        assert listed["links"] == [{"rel": "self", "href": "http://cloud:1/compute/v2.1/"}]
        assert (await anyone.get("/v2.1/")).json()["version"]["version"] == listed["version"] == "2.104"
        assert (await anyone.get("/v2.1/servers")).status_code == 401
        assert (await anyone.get("/versions")).status_code == 300
    for asked, status in (("compute 2.105", 406), ("compute 3.1", 406), ("compute x", 400), ("compute 2.104", 200)):
        assert (await site.ann.get("/servers", headers={"openstack-api-version": asked})).status_code == status


async def test_the_whole_life_of_a_server(site: Site) -> None:
    created = await site.ann.post("/servers", json=site.body(metadata={"a": "b"}, description="d", hostname="h1"))
    server = created.json()["server"]
    assert created.headers["location"] == f"http://cloud/compute/v2.1/servers/{server['id']}"
    assert re.fullmatch(r"[A-Za-z0-9]{12}", server["adminPass"])
    assert server["security_groups"] == [{"name": "default"}]
    assert await site.settle(server["id"]) == "active"
    shown = (await site.ann.get(f"/servers/{server['id']}")).json()["server"]
    assert (shown["status"], shown["description"], shown["OS-EXT-SRV-ATTR:hostname"]) == ("ACTIVE", "d", "h1")
    [address] = shown["addresses"]["private"]
    assert (await site.ann.get(f"/servers/{server['id']}/ips/private")).json() == {
        "private": [{"version": 4, "addr": address["addr"]}]
    }
    for action, value, phase in (
        ("os-stop", None, "stopped"), ("os-start", None, "active"), ("reboot", {"type": "SOFT"}, "active"),
        ("reboot", {"type": "HARD"}, "active"),
    ):  # fmt: skip
        assert (await act(site.ann, server["id"], action, value)).status_code == 202
        assert await site.settle(server["id"]) == phase
    assert (await site.ann.delete(f"/servers/{server['id']}")).status_code == 204
    assert await site.settle(server["id"]) == ""
    assert fault(await site.ann.get(f"/servers/{server['id']}")) == (
        404,
        f"Instance {server['id']} could not be found.",
    )
    assert (await site.quotas.uses(caller("ann").project_id or ""))["instances"].used == 0


async def test_the_log_of_actions_tells_events_as_its_version_has_them(site: Site) -> None:
    server_id = await site.boot()
    await act(site.ann, server_id, "os-stop")
    await site.settle(server_id)
    path = f"/servers/{server_id}/os-instance-actions"
    actions = (await site.ann.get(path)).json()["instanceActions"]
    assert [one["action"] for one in actions] == ["stop", "create"]
    first = (await site.ann.get(path, params={"limit": 1})).json()
    assert [one["action"] for one in first["instanceActions"]] == ["stop"]
    rest = (await site.ann.get(first["links"][0]["href"])).json()
    assert [one["action"] for one in rest["instanceActions"]] == ["create"]
    one = f"{path}/{actions[1]['request_id']}"
    for client, version, keys in (
        (site.ann, "2.50", None), (site.ann, "2.51", 4), (site.ann, "2.62", 5), (site.admin, "2.1", 5),
        (site.admin, "2.84", 8),
    ):  # fmt: skip
        answer = await client.get(one, headers={"openstack-api-version": f"compute {version}"})
        events = answer.json()["instanceAction"].get("events")
        assert (None if events is None else len(events[0])) == keys, version
    assert events[0]["event"] == "compute__do_build_and_run_instance"
    assert events[0]["result"] == "Success"
    await site.ann.delete(f"/servers/{server_id}")
    await site.settle(server_id)
    assert len((await site.ann.get(path)).json()["instanceActions"]) == 3
    assert (await site.ann.get(path, headers={"openstack-api-version": "compute 2.20"})).status_code == 404
    assert (await site.ann.get(f"{path}/req-none")).status_code == 404


async def test_console(site: Site) -> None:
    server_id = await site.boot()
    whole = "one\r\n\rtwo\r\nthree\n"
    for asked, output in (
        ({}, whole),
        ({"length": None}, whole),
        ({"length": -1}, whole),
        ({"length": "2"}, "\rtwo\r\nthree\n"),
        ({"length": 0}, ""),
        ({"length": 99}, whole),
    ):
        assert (await act(site.ann, server_id, "os-getConsoleOutput", asked)).json() == {"output": output}


async def test_actions_are_refused_in_nova_s_words(still: Site) -> None:
    server_id = await still.make()
    assert fault(await act(still.ann, server_id, "os-stop")) == (
        409, f"Cannot 'stop' instance {server_id} while it is in vm_state building",
    )  # fmt: skip
    assert (await act(still.ann, server_id, "os-getConsoleOutput", {})).status_code == 409
    assert fault(await act(still.ann, server_id, "pause")) == (
        409, f"Cannot 'pause' instance {server_id} while it is in vm_state building",
    )  # fmt: skip
    assert (await act(still.ann, server_id, "injectNetworkInfo")).status_code == 501
    assert fault(await act(still.ann, server_id, "dance")) == (400, "There is no such action: dance")
    assert (await act(still.ann, server_id, "os-getVNCConsole", {"type": "novnc"})).status_code == 404
    assert (await act(still.ann, GHOST, "os-start")).status_code == 404
    assert (await still.ann.post(f"/servers/{server_id}/action", json={"os-start": None, "x": 1})).status_code == 400
    assert (await act(still.ann, server_id, "forceDelete")).status_code == 202
    assert (await still.servers.get(ALL, server_id)).phase == "building.deleting"


async def test_projects_do_not_see_each_other(still: Site) -> None:
    server_id = await still.make()
    one = f"/servers/{server_id}"
    for answer in (
        await still.bob.get(one), await still.bob.put(one, json={"server": {"name": "x"}}), await still.bob.delete(one),
        await act(still.bob, server_id, "os-stop"), await still.bob.get(f"{one}/metadata"),
        await still.bob.get(f"{one}/os-instance-actions"), await still.bob.get(f"{one}/ips"),
        await still.client("bob", "/kilonova/v1").get(f"{one}/story"),
    ):  # fmt: skip
        assert answer.status_code == 404, answer.text
    assert await names(still.bob) == []
    assert (await still.bob.get("/servers?all_tenants=1")).status_code == 403
    assert await names(still.admin) == []
    assert await names(still.admin, "?all_tenants=1") == ["web"]
    assert (await still.admin.get(one)).status_code == 200
    # A reader of the project sees and may not touch.
    assert (await still.eve.get(one)).status_code == 200
    assert (await still.eve.delete(one)).status_code == 403
    assert (await still.eve.post("/servers", json=still.body())).status_code == 403
    inside = still.client("ann", "/compute/v2.1/" + "b" * 32)
    assert (
        (await inside.get(one)).json()["server"]["links"][0]["href"].endswith(f"/v2.1/{'b' * 32}/servers/{server_id}")
    )
    assert (await still.client("ann", "/compute/v2.1/" + "c" * 32).get(one)).status_code == 400


async def test_lists_filter_sort_and_page(still: Site) -> None:
    for name in ("web-1", "web-2", "db"):
        await still.make(name=name, flavorRef="84" if name == "db" else "42")
    assert await names(still.ann) == ["db", "web-2", "web-1"]
    assert await names(still.ann, "?sort_key=display_name&sort_dir=asc") == ["db", "web-1", "web-2"]
    for query, found in (
        ("name=web", 2), ("name=^web$", 0), ("name=^web-1$", 1), ("name=^we", 2), ("name=2$", 1), ("name=[", 0),
        ("name=web\\-1", 1), ("status=BUILD", 3), ("status=build&status=ACTIVE", 3), ("status=ACTIVE", 0),
        ("flavor=84", 1), (f"image={still.image}", 3), (f"image={GHOST}", 0), ("ip=10.0", 0), ("tags=a", 0),
        ("changes-since=2001-01-01T00:00:00Z", 3), ("changes-since=2099-01-01T00:00:00Z", 0), ("locked=false", 3),
        ("changes-before=2001-01-01T00:00:00Z", 0), ("host=host1", 3), ("limit=0", 0), ("vm_state=building", 3),
    ):  # fmt: skip
        assert len(await names(still.ann, f"?{query}")) == found, query
    assert len(await names(still.admin, "?all_tenants=1&host=host1")) == 0
    seen, path = [], "http://cloud/compute/v2.1/servers/detail?limit=1&sort_key=display_name&sort_dir=asc&flavor=42"
    while path:
        page = (await still.ann.get(path)).json()
        seen += [server["name"] for server in page["servers"]]
        path = page["servers_links"][0]["href"] if "servers_links" in page else ""
    assert seen == ["web-1", "web-2"]
    for query in ("status=WRONG", "marker=x", f"marker={GHOST}", "limit=-1", "limit=x", "all_tenants=perhaps",
                  "changes-since=x", "zz=1", "sort_dir=up", "sort_key=password"):  # fmt: skip
        assert (await still.ann.get(f"/servers?{query}")).status_code in (400, 403), query
    assert (await still.ann.get("/servers?status=DELETED")).status_code == 403
    assert (await still.ann.get("/servers?sort_key=host")).status_code == 403


async def test_the_deleted_are_listed_after_the_living(site: Site) -> None:
    kept, gone = await site.boot(name="kept"), [await site.boot(name=f"gone-{i}") for i in range(2)]
    for server_id in gone:
        await site.ann.delete(f"/servers/{server_id}")
        await site.settle(server_id)
    assert await names(site.admin, "?all_tenants=1&deleted=1") == ["gone-1", "gone-0"]
    assert await names(site.admin, "?all_tenants=1&status=DELETED&name=gone-0") == ["gone-0"]
    since = "?changes-since=2001-01-01T00:00:00Z"
    assert await names(site.ann, since) == ["kept", "gone-1", "gone-0"]
    for marker, rest in ((kept, ["gone-1", "gone-0"]), (gone[1], ["gone-0"]), (gone[0], [])):
        assert await names(site.ann, f"{since}&marker={marker}&limit=5") == rest
    detail = (await site.ann.get(f"/servers/detail{since}&limit=1&marker={kept}")).json()["servers"]
    assert [server["status"] for server in detail] == ["DELETED"]


async def test_security_groups_are_shown_by_name(site: Site) -> None:
    group = await site.networks.groups.create(caller("ann"), "web")
    for asked in (group.id, "web"):
        server_id = await site.boot(security_groups=[{"name": asked}, {"name": "default"}])
        shown = (await site.ann.get(f"/servers/{server_id}")).json()["server"]["security_groups"]
        assert shown == [{"name": "web"}, {"name": "default"}]
    nothing = await site.boot(networks="none")
    assert "security_groups" not in (await site.ann.get(f"/servers/{nothing}")).json()["server"]


async def test_many_at_once_and_once_for_each_key(still: Site) -> None:
    body = still.body(min_count=2, max_count="3", return_reservation_id=True)
    reservation = (await still.ann.post("/servers", json=body)).json()["reservation_id"]
    assert sorted(await names(still.ann, f"?reservation_id={reservation}")) == ["web-1", "web-2", "web-3"]
    keyed = {"idempotency-key": "k1"}
    first, again = [await still.ann.post("/servers", json=still.body(name="once"), headers=keyed) for _ in range(2)]
    assert first.json() == again.json()
    assert len(await names(still.ann, "?name=once")) == 1
    other = await still.ann.post("/servers", json=still.body(name="other"), headers=keyed)
    assert other.status_code == 409
    assert (await still.ann.post("/servers", json=body, headers={"idempotency-key": "x" * 256})).status_code == 400
    at_once = await asyncio.gather(
        *(still.bob.post("/servers", json=still.body(), headers={"idempotency-key": "k2"}) for _ in range(5))
    )
    assert {answer.status_code for answer in at_once} <= {202, 503}
    assert len(await names(still.bob)) == 1


async def test_a_repeated_create_answers_although_the_world_has_moved_on(still: Site) -> None:
    """What the first one referred to may be gone by then."""
    await still.ann.post("/os-keypairs", json={"keypair": {"name": "mine", "type": "ssh", "public_key": KEY}})
    body = still.body(name="once-more", key_name="mine")
    keyed = {"idempotency-key": "moved"}
    first = await still.ann.post("/servers", json=body, headers=keyed)
    assert (await still.ann.delete("/os-keypairs/mine")).is_success
    again = await still.ann.post("/servers", json=body, headers=keyed)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert len(await names(still.ann, "?name=once-more")) == 1


async def test_metadata(still: Site) -> None:
    server_id = await still.make(metadata={"a": "1"})
    path = f"/servers/{server_id}/metadata"
    assert (await still.ann.post(path, json={"metadata": {"b": "2"}})).json() == {"metadata": {"a": "1", "b": "2"}}
    assert (await still.ann.put(path, json={"metadata": {"c": "3"}})).json() == {"metadata": {"c": "3"}}
    assert (await still.ann.put(f"{path}/d", json={"meta": {"d": "4"}})).json() == {"meta": {"d": "4"}}
    assert (await still.ann.put(f"{path}/d", json={"meta": {"e": "4"}})).status_code == 400
    assert (await still.ann.get(f"{path}/d")).json() == {"meta": {"d": "4"}}
    assert [(await still.ann.delete(f"{path}/d")).status_code for _ in range(2)] == [204, 404]
    many = {str(i): "" for i in range(129)}
    assert fault(await still.ann.put(path, json={"metadata": many})) == (
        403, "Maximum number of metadata items exceeds 128",
    )  # fmt: skip
    assert (await still.ann.get(path)).json() == {"metadata": {"c": "3"}}
    assert (await still.ann.post("/servers", json=still.body(metadata=many))).status_code == 403


async def test_a_change_is_shown_and_a_bad_one_refused(still: Site) -> None:
    server_id = await still.make()
    path = f"/servers/{server_id}"
    changed = await still.ann.put(path, json={"server": {"name": "n2", "description": "d", "hostname": "h2"}})
    server = changed.json()["server"]
    assert (server["name"], server["description"], server["OS-EXT-SRV-ATTR:hostname"]) == ("n2", "d", "h2")
    changed = await still.ann.put(path, json={"server": {"accessIPv4": "10.0.0.1", "accessIPv6": "2001:db8::1"}})
    assert changed.json()["server"]["accessIPv4"] == "10.0.0.1"
    for value in ("", " x", "x" * 256, 5, None):
        assert (await still.ann.put(path, json={"server": {"name": value}})).status_code == 400
    assert (await still.ann.get(path)).json()["server"]["name"] == "n2"


async def test_key_pairs(site: Site) -> None:
    made = await site.ann.post("/os-keypairs", json={"keypair": {"name": "k", "public_key": KEY}})
    assert made.status_code == 201
    assert made.json()["keypair"]["type"] == "ssh"
    old = {"openstack-api-version": "compute 2.1"}
    generated = await site.ann.post("/os-keypairs", json={"keypair": {"name": "g"}}, headers=old)
    assert generated.status_code == 200
    assert "PRIVATE KEY" in generated.json()["keypair"]["private_key"]
    assert (await site.ann.post("/os-keypairs", json={"keypair": {"name": "h"}})).status_code == 400
    server_id = await site.boot(key_name="k")
    assert (await site.ann.get(f"/servers/{server_id}")).json()["server"]["key_name"] == "k"
    assert fault(await site.bob.post("/servers", json=site.body(key_name="k"))) == (400, "Invalid key_name provided.")
    assert (await site.bob.get("/os-keypairs/k")).status_code == 404
    assert (await site.bob.get("/os-keypairs?user_id=ann")).status_code == 403
    assert len((await site.admin.get("/os-keypairs?user_id=ann")).json()["keypairs"]) == 2
    assert (await site.ann.delete("/os-keypairs/k")).status_code == 204
    assert (await site.ann.delete("/os-keypairs/k")).status_code == 404


async def test_what_operators_do(site: Site) -> None:
    for path in ("/os-services", "/os-hypervisors/detail", "/os-availability-zone/detail"):
        assert (await site.ann.get(path)).status_code == 403, path
        assert (await site.admin.get(path)).status_code == 200, path
    [service] = (await site.admin.get("/os-services")).json()["services"]
    off = await site.admin.put(f"/os-services/{service['id']}", json={"status": "disabled", "disabled_reason": "why"})
    assert off.json()["service"]["disabled_reason"] == "why"
    assert (await site.ann.get("/os-availability-zone")).json() == {"availabilityZoneInfo": []}
    stuck = await site.make()
    assert await site.settle(stuck) == "error"
    shown = (await site.ann.get(f"/servers/{stuck}")).json()["server"]["fault"]
    assert shown["message"].startswith("No valid host was found: of 1 host, host is enabled removed 1")
    watch = site.client("ann", "/kilonova/v1")
    assert (await watch.post("/explain", json={"flavor": "m1.nano"})).json() == {
        "fits": False, "considered": 1, "reasons": [{"constraint": "host is enabled", "removed": 1}],
    }  # fmt: skip
    assert (await watch.get(f"/servers/{stuck}/story")).json()["operations"][0]["outcome"] == "failed"
    assert (await watch.get("/status")).status_code == 403
    status = (await site.client("admin", "/kilonova/v1").get("/status")).json()
    assert status["servers"] == {"error": 1}
    on = await site.admin.put(f"/os-services/{service['id']}", json={"status": "enabled"})
    assert on.json()["service"]["disabled_reason"] is None
    zone = {"availability_zone": "nova:host1"}
    assert (await site.ann.post("/servers", json=site.body(**zone))).status_code == 403
    assert await site.boot(site.admin, **zone)


async def test_quotas(still: Site) -> None:
    ann = "b" * 32
    assert (await still.ann.put(f"/os-quota-sets/{ann}", json={"quota_set": {"cores": 5}})).status_code == 403
    assert (await still.bob.get(f"/os-quota-sets/{ann}")).status_code == 403
    assert (await still.admin.get("/os-quota-sets/" + "d" * 32)).status_code == 400
    for _ in range(2):
        await still.make()
    low = {"quota_set": {"instances": 1}}
    assert (await still.admin.put(f"/os-quota-sets/{ann}", json=low)).status_code == 400
    low["quota_set"]["force"] = 1 == 1
    assert (await still.admin.put(f"/os-quota-sets/{ann}", json=low)).json()["quota_set"]["instances"] == 1
    assert fault(await still.ann.post("/servers", json=still.body())) == (
        403, "Quota exceeded for instances: Requested 1, but already used 2 of 1 instances",
    )  # fmt: skip
    detail = (await still.ann.get(f"/os-quota-sets/{ann}/detail")).json()["quota_set"]
    assert detail["instances"] == {"limit": 1, "in_use": 2, "reserved": 0}
    assert (await still.ann.get("/limits")).json()["limits"]["absolute"]["totalInstancesUsed"] == 2
    assert (await still.admin.delete(f"/os-quota-sets/{ann}")).status_code == 202
    assert (await still.ann.post("/servers", json=still.body())).status_code == 202


async def test_what_the_newest_microversions_say_more(site: Site) -> None:
    image = await site.add_image("special", properties={"hw_rng_model": "virtio", "note": "mine"})
    near = await site.boot()
    server_id = await site.boot(
        imageRef=image, availability_zone="nova", flavorRef="42", networks="none",
    )  # fmt: skip
    hinted = {**site.body(), "os:scheduler_hints": {"same_host": [near], "colour": "red"}}
    other = (await site.ann.post("/servers", json=hinted)).json()["server"]["id"]
    await site.settle(other)

    async def at(minor: int, which: str) -> dict[str, Any]:
        version = {"openstack-api-version": f"compute 2.{minor}"}
        found: dict[str, Any] = (await site.ann.get(f"/servers/{which}", headers=version)).json()["server"]
        return found

    assert (await at(98, server_id))["image"]["properties"] == {"hw_rng_model": "virtio", "note": "mine"}
    assert "properties" not in (await at(97, server_id))["image"]
    assert (await at(100, other))["scheduler_hints"] == {"same_host": [near]}
    assert "scheduler_hints" not in await at(99, other)
    put = f"/servers/{server_id}"
    for zone, code in ((None, 200), ("nova", 200), ("elsewhere", 400), ("", 400)):
        answer = await site.ann.put(put, json={"server": {"pinned_availability_zone": zone}})
        assert answer.status_code == code, (zone, answer.text)
        if code == 200:
            assert answer.json()["server"]["pinned_availability_zone"] == zone
    old = {"openstack-api-version": "compute 2.103"}
    assert (
        await site.ann.put(put, json={"server": {"pinned_availability_zone": None}}, headers=old)
    ).status_code == 400
    assert (await at(104, server_id))["pinned_availability_zone"] == "nova"


async def test_flavors_since_2_102(site: Site) -> None:
    before, since = ({"openstack-api-version": f"compute 2.{minor}"} for minor in (101, 102))
    shown = (await site.ann.get("/flavors/1", headers=since)).json()["flavor"]
    assert not {"rxtx_factor", "OS-FLV-DISABLED:disabled"} & set(shown)
    assert "rxtx_factor" in (await site.ann.get("/flavors/1", headers=before)).json()["flavor"]
    named = (await site.ann.get("/flavors?name=m1.small", headers=since)).json()["flavors"]
    assert [flavor["name"] for flavor in named] == ["m1.small"]
    assert (await site.ann.get("/flavors?name=m1", headers=since)).json()["flavors"] == []
    assert (await site.ann.get("/flavors?name=m1.small", headers=before)).status_code == 400
    new = {"flavor": {"name": "n", "ram": 64, "vcpus": 1, "disk": 1, "rxtx_factor": 1.0}}
    assert (await site.admin.post("/flavors", json=new, headers=since)).status_code == 400
    assert (await site.admin.post("/flavors", json=new, headers=before)).status_code == 200
    for path in ("/flavors/1", "/limits", "/os-keypairs", "/servers", "/extensions"):
        assert (await site.ann.get(f"{path}?nonsense=1", headers=since)).status_code == 400, path


async def test_files_of_old_microversions_reach_the_guests_document(site: Site) -> None:
    old = {"openstack-api-version": "compute 2.56"}
    file = {"path": "/etc/motd", "contents": base64.b64encode(b"hello").decode()}

    async def create(*files: dict[str, str]) -> httpx.Response:
        return await site.ann.post("/servers", json=site.body(personality=list(files)), headers=old)

    made = (await create(file)).json()["server"]["id"]
    assert await site.settle(made) == "active"
    assert (await site.servers.get(ALL, made)).files == (("/etc/motd", file["contents"]),)
    large = {**file, "contents": base64.b64encode(b"x" * 10241).decode()}
    for files, code in (([file] * 6, 403), ([large], 403), ([{**file, "path": "/" * 256}], 403),
                        ([{"contents": ""}], 400), ([{**file, "contents": "x"}], 400)):  # fmt: skip
        answer = await create(*files)
        assert answer.status_code == code, answer.text
    newer = await site.ann.post("/servers", json=site.body(personality=[file]))
    assert newer.status_code == 400
    rebuilt = {"rebuild": {"imageRef": site.image, "personality": [{**file, "path": "/other"}]}}
    assert (await site.ann.post(f"/servers/{made}/action", json=rebuilt, headers=old)).status_code == 202
    assert await site.settle(made) == "active"
    assert [path for path, _ in (await site.servers.get(ALL, made)).files] == ["/other"]
    assert len((await site.ann.get("/servers")).json()["servers"]) == 1
