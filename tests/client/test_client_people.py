"""People and rights by openstackclient, as an administrator runs it."""

from __future__ import annotations

import pytest
from client_cloud import Cloud

pytestmark = pytest.mark.client


def test_domains_projects_and_tags(cloud: Cloud) -> None:
    cloud.tell("domain create --description wide realm")
    assert cloud.show("domain show realm")["description"] == "wide"
    cloud.tell("project create --domain realm --tag red --tag blue top")
    cloud.tell("project create --domain realm --parent top --property colour=mint leaf")
    leaf = cloud.show("project show --domain realm --parents leaf")
    top = cloud.show("project show --domain realm --children top")
    assert (leaf["parent_id"], leaf["colour"], leaf["is_domain"]) == (top["id"], "mint", False)
    assert top["id"] in str(leaf["parents"])
    assert leaf["id"] in str(top["subtree"])
    assert sorted(top["tags"]) == ["blue", "red"]
    assert cloud.column("project list --domain realm --tags red,blue", "Name") == ["top"]
    cloud.tell("project set --domain realm --tag green leaf")
    assert cloud.column("project list --domain realm --tags-any green", "Name") == ["leaf"]
    assert cloud.column("project list --domain realm --not-tags-any green", "Name") == ["top"]
    assert "403" in cloud.refuse("project delete --domain realm top")
    cloud.tell("domain set --disable realm")
    cloud.tell("domain delete realm")
    assert "realm" not in cloud.column("domain list", "Name")


def test_users_groups_and_what_they_may(cloud: Cloud) -> None:
    cloud.tell("project create --enable lab")
    cloud.tell("user create --password first --email a@example.org --ignore-lockout-failure-attempts ann")
    shown = cloud.show("user show ann")
    assert (shown["email"], shown["options"]) == ("a@example.org", {"ignore_lockout_failure_attempts": True})
    cloud.tell("group create --description us team")
    cloud.tell("group add user team ann")
    assert "ann in group team" in cloud.tell("group contains user team ann")
    assert cloud.column("user list --group team", "Name") == ["ann"]
    assert cloud.column("group list --user ann", "Name") == ["team"]
    cloud.tell("role add --project lab --group team member")
    cloud.tell("role add --project lab --group team --inherited reader")
    rows = cloud.show("role assignment list --group team --names")
    assert sorted((r["Role"], r["Group"], r["Project"], r["Inherited"]) for r in rows) == [
        ("member", "team@Default", "lab@Default", False),
        ("reader", "team@Default", "lab@Default", True),
    ]
    effective = cloud.column("role assignment list --user ann --effective --names", "Role")
    assert sorted(effective) == ["member", "reader"]
    assert cloud.column("project list --user ann", "Name") == ["lab"]
    cloud.tell("role add --system all --user ann reader")
    assert cloud.column("role assignment list --system all --user ann --names", "Role") == ["reader"]
    cloud.tell("role remove --system all --user ann reader")
    cloud.tell("role remove --project lab --group team --inherited reader")
    cloud.tell("group remove user team ann")
    assert cloud.show("role assignment list --user ann --effective") == []
    for words in ("group delete team", "user delete ann", "project delete lab"):
        cloud.tell(words)
    assert "No User found for ann" in cloud.refuse("user show ann")


def test_roles_that_imply_others(cloud: Cloud) -> None:
    cloud.tell("role create --description one boss")
    cloud.tell("role create --immutable worker")
    cloud.tell("implied role create --implied-role worker boss")
    rows = cloud.show("implied role list")
    assert ("boss", "worker") in {(r["Prior Role Name"], r["Implied Role Name"]) for r in rows}
    assert "403" in cloud.refuse("implied role create --implied-role boss worker")
    cloud.tell("implied role delete --implied-role worker boss")
    assert "403" in cloud.refuse("role delete worker")
    cloud.tell("role set --no-immutable worker")
    for name in ("worker", "boss"):
        cloud.tell(f"role delete {name}")
    assert {"admin", "manager", "member", "reader"} <= set(cloud.column("role list", "Name"))


def test_the_doctor_names_servers_whose_project_is_gone(cloud: Cloud) -> None:
    cloud.tell("project create gone")
    cloud.tell("role add --project gone --user admin member")
    boot = "server create --image kilonova-guest --flavor m1.nano --nic none left"
    left = cloud.show(f"--os-project-name gone {boot}")["id"]
    cloud.tell("project delete gone")
    told = cloud.own("doctor", code=None)
    assert f"server {left}: its project" in told
    assert "was deleted" in told
    assert cloud.http().delete(f"/compute/v2.1/servers/{left}").status_code == 204
    cloud.check()
