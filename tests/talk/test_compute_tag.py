"""Tags of servers over HTTP."""

from __future__ import annotations

from compute_world import Site, act


async def test_tags_come_and_go(site: Site) -> None:
    path = f"/servers/{await site.boot(tags=['one'])}/tags"
    assert (await site.ann.get(path)).json() == {"tags": ["one"]}
    for tag, quoted in (("two words", "two%20words"), ("ü", "%C3%BC"), ("%0D%0Ax: y", "%0D%0Ax%3A%20y")):
        answer = await site.ann.put(f"{path}/{tag}")
        assert (answer.status_code, answer.headers["location"].endswith(f"/tags/{quoted}")) == (201, True)
    assert (await site.ann.put(f"{path}/one")).status_code == 204
    assert (await site.eve.get(f"{path}/one")).status_code == 204
    assert (await site.ann.get(f"{path}/three")).status_code == 404
    assert (await site.ann.delete(f"{path}/one")).status_code == 204
    assert (await site.ann.delete(f"{path}/one")).status_code == 404
    assert (await site.ann.put(path, json={"tags": ["b", "a", "ü"]})).json() == {"tags": ["b", "a", "ü"]}
    shown = (await site.ann.get(path.removesuffix("/tags"))).json()["server"]
    assert shown["tags"] == ["b", "a", "ü"]
    assert (await site.ann.delete(path)).status_code == 204
    assert (await site.ann.get(path)).json() == {"tags": []}


async def test_what_is_no_tag_is_refused_and_changes_nothing(site: Site) -> None:
    server_id = await site.boot()
    path = f"/servers/{server_id}/tags"
    many = [f"t{n}" for n in range(50)]
    for bad in ({"tags": [*many, "more"]}, {"tags": ["a,b"]}, {"tags": ["a/b"]}, {"tags": [""]}, {"tags": ["x" * 61]},
                {"tags": "a"}, {}, {"tags": [], "more": 1}, {"tags": ["a", "a"], "b": None}):  # fmt: skip
        assert (await site.ann.put(path, json=bad)).status_code == 400, bad
    for bad in ("a,b", "x" * 61):
        assert (await site.ann.put(f"{path}/{bad}")).status_code == 400, bad
    assert (await site.ann.put(path, json={"tags": many})).status_code == 200
    assert (await site.ann.put(f"{path}/more")).status_code == 400
    assert (await site.ann.put(f"{path}/t1")).status_code == 204
    assert (await site.ann.get(path)).json() == {"tags": many}
    assert (await site.eve.put(f"{path}/x")).status_code == 403
    for verb in ("get", "put", "delete"):
        assert (await getattr(site.bob, verb)(f"{path}/x")).status_code == 404
    old = {"openstack-api-version": "compute 2.25"}
    assert (await site.ann.get(path, headers=old)).status_code == 404
    await act(site.ann, server_id, "rescue")
    await site.settle(server_id)
    assert (await site.ann.put(f"{path}/x")).status_code == 409


async def test_servers_are_found_by_tags(site: Site) -> None:
    servers = {name: await site.make(name=name, tags=list(name)) for name in ("a", "ab", "bc")}

    async def found(query: str) -> set[str]:
        answer = (await site.ann.get(f"/servers?{query}")).json()["servers"]
        return {name for name, server_id in servers.items() if server_id in {s["id"] for s in answer}}

    assert await found("tags=a,b") == {"ab"}
    assert await found("tags-any=a,c") == {"a", "ab", "bc"}
    assert await found("not-tags=a,b") == {"a", "bc"}
    assert await found("not-tags-any=a") == {"bc"}
    assert await found("tags=a&not-tags=b") == {"a"}
