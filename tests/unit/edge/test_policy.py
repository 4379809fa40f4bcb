"""Policy: what is unknown is denied, an operator's file counts as soon as it changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kilonova.core.context import Context
from kilonova.core.errors import Invalid
from kilonova.edge.openstack.compute.policy import RULES as COMPUTE
from kilonova.edge.openstack.image.policy import RULES as IMAGE
from kilonova.edge.openstack.network.policy import RULES as NETWORK
from kilonova.edge.openstack.placement.policy import PREFIX
from kilonova.edge.openstack.placement.policy import RULES as PLACEMENT
from kilonova.edge.openstack.policy import Enforcer, Rule
from kilonova.edge.watch.policy import RULES as WATCH
from kilonova.edge.watch.policy import STATUS, TELL_ALL

RULES = (
    Rule("admin_api", "role:admin"),
    Rule("see", "role:reader and project_id:%(project_id)s"),
    Rule("change", "rule:admin_api"),
    Rule("reach", "rule:admin_api", scopes=("system",)),
)


def caller(*roles: str, project: str = "p", system: bool = False) -> Context:
    return Context("u", None if system else project, frozenset(roles), "req-1", system=system)


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rules_are_asked() -> None:
    enforcer = Enforcer(RULES)
    assert enforcer.permits(caller("reader"), "see", {"project_id": "p"})
    assert not enforcer.permits(caller("reader"), "see", {"project_id": "q"})
    assert not enforcer.permits(caller("reader"), "see", {})
    assert not enforcer.permits(caller("reader"), "change", {})
    assert enforcer.permits(caller("admin"), "change", {})


def test_scopes_are_asked() -> None:
    enforcer = Enforcer(RULES)
    assert not enforcer.permits(caller("admin"), "reach", {})
    assert enforcer.permits(caller("admin", system=True), "reach", {})


SERVICES = [COMPUTE, IMAGE, NETWORK, tuple(rule for rule in PLACEMENT if rule.name.startswith(PREFIX))]


@pytest.mark.parametrize("rules", SERVICES, ids=["compute", "image", "network", "placement"])
def test_services_take_tokens_for_projects_only(rules: tuple[Rule, ...]) -> None:
    enforcer, roles = Enforcer(rules if rules is not SERVICES[3] else PLACEMENT), frozenset({"admin", "reader"})
    target = {"project_id": "p", "user_id": "u", "network_project_id": "p"}
    domain = Context("u", None, roles, "req-1", domain_id="d")
    for scoped in (domain, caller("admin", "reader", system=True)):
        assert [rule.name for rule in rules if enforcer.permits(scoped, rule.name, target)] == []
    denied = [rule.name for rule in rules if not enforcer.permits(caller("admin", "reader"), rule.name, target)]
    assert all("service" in name or "reshape" in name or "member" in name or "manager" in name for name in denied), (
        denied
    )


def test_a_domains_administrator_does_not_operate_the_cloud() -> None:
    enforcer = Enforcer([Rule(name, check) for name, check in WATCH.items()])
    for rule in (STATUS, TELL_ALL):
        assert not enforcer.permits(Context("u", None, frozenset({"admin"}), "req-1", domain_id="d"), rule, {})
        assert enforcer.permits(caller("admin"), rule, {})


def test_what_is_unknown_is_denied(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('"default": "@"\n"other": "@"\n')
    enforcer = Enforcer(RULES, file)
    assert not enforcer.permits(caller("admin"), "other", {})
    assert not enforcer.permits(caller("admin"), "missing", {})


def test_an_operators_file_counts_when_it_changes(tmp_path: Path) -> None:
    file, time = tmp_path / "policy.yaml", Time()
    enforcer = Enforcer(RULES, file, monotonic=time)
    reader = caller("reader")
    assert not enforcer.permits(reader, "change", {})
    file.write_text('"change": "role:reader"\n')
    time.now += 2
    assert enforcer.permits(reader, "change", {})
    file.write_text('"change": "!"\n')
    os.utime(file, ns=(1, 1))
    time.now += 2
    assert not enforcer.permits(caller("admin"), "change", {})
    file.unlink()
    time.now += 2
    assert enforcer.permits(caller("admin"), "change", {})


@pytest.mark.parametrize("text", ["- a\n", "{", '"see": 3\n'])
def test_a_file_that_is_none_is_refused_and_changes_nothing(tmp_path: Path, text: str) -> None:
    file, time = tmp_path / "policy.yaml", Time()
    file.write_text(text)
    with pytest.raises(Invalid):
        Enforcer(RULES, file).load()
    file.unlink()
    enforcer = Enforcer(RULES, file, monotonic=time)
    enforcer.load()
    file.write_text(text)
    time.now += 2
    assert enforcer.permits(caller("reader"), "see", {"project_id": "p"})
