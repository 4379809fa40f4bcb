"""The default quota class: what projects have that have no limits of their own."""

from __future__ import annotations

from compute_world import PROJECTS, Site, fault

DEFAULT = "/os-quota-class-sets/default"


async def test_a_default_holds_for_who_has_none_of_its_own(still: Site) -> None:
    await still.admin.put(f"/os-quota-sets/{PROJECTS['bob']}", json={"quota_set": {"instances": 5}})
    before = (await still.admin.get(DEFAULT)).json()["quota_class_set"]
    assert (before["id"], before["instances"], before["server_groups"]) == ("default", 10, 10)
    changed = await still.admin.put(DEFAULT, json={"quota_class_set": {"instances": 1, "cores": "-1"}})
    assert changed.json()["quota_class_set"] == {
        **{k: v for k, v in before.items() if k != "id"},
        "instances": 1,
        "cores": -1,
    }
    shown = {
        who: (await still.admin.get(f"/os-quota-sets/{PROJECTS[who]}")).json()["quota_set"] for who in ("ann", "bob")
    }
    assert (shown["ann"]["instances"], shown["bob"]["instances"]) == (1, 5)
    told = (await still.ann.get(f"/os-quota-sets/{PROJECTS['ann']}/defaults")).json()["quota_set"]
    assert (told["instances"], told["cores"]) == (1, -1)
    await still.make()
    assert (await still.ann.post("/servers", json=still.body())).status_code == 403
    for _ in range(2):
        await still.make(still.bob)


async def test_old_versions_have_networks_limits(still: Site) -> None:
    old, older = ({"openstack-api-version": f"compute {version}"} for version in ("2.49", "2.35"))
    body = {"quota_class_set": {"floating_ips": 0}}
    assert (await still.admin.put(DEFAULT, json=body, headers=old)).json()["quota_class_set"]["floating_ips"] == 0
    assert (await still.ann.post("/os-floating-ips", headers=older)).status_code == 403
    assert "floating_ips" not in (await still.admin.get(DEFAULT)).json()["quota_class_set"]
    assert (await still.admin.put(DEFAULT, json=body)).status_code == 400


async def test_who_may_and_what_is_refused(still: Site) -> None:
    assert (await still.ann.get(DEFAULT)).status_code == 403
    assert (await still.ann.put(DEFAULT, json={"quota_class_set": {"cores": 1}})).status_code == 403
    for bad in ({"cores": -2}, {"cores": "many"}, {"volumes": 1}):
        assert (await still.admin.put(DEFAULT, json={"quota_class_set": bad})).status_code == 400
    other = await still.admin.put("/os-quota-class-sets/gold", json={"quota_class_set": {"cores": 1}})
    assert fault(other)[0] == 501
    assert (await still.admin.get(DEFAULT)).json()["quota_class_set"]["cores"] == 20
