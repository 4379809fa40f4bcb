"""oslo.policy, asked once per request and rule. Operators' own policy.yaml files keep working."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kilonova.core.context import Context
from kilonova.core.errors import Invalid
from kilonova.kit.log import Logger

LOOK_SECONDS: Final = 1.0
CAPACITY: Final = 20_000


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule's name and default, in oslo.policy's language. `scopes`: the token scopes that it takes at all
    ("project", "domain", "system"); empty takes any."""

    name: str
    check: str
    scopes: tuple[str, ...] = ()


def of_projects(*rules: Rule) -> tuple[Rule, ...]:
    """These rules for callers whose token is for a project, and no others: a domain's administrator, say, has no rights
    in services that know nothing of domains."""
    return tuple(Rule(rule.name, rule.check, ("project",)) for rule in rules)


class Enforcer:
    """The policy of one service: its defaults, and an operator's file that overrides them and is read again when it
    changes. What is not a rule of the service is denied.

    Answers are remembered per (file as read, rule, caller's user, project, roles and scope, target). oslo.policy is
    heavy to import, so that happens at the first question, or in `load`.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        file: Path | None = None,
        *,
        log: Logger | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = {rule.name: rule for rule in rules}
        self._file = file
        self._log = log or Logger("kilonova.policy")
        self._monotonic = monotonic
        self._looked = 0.0
        self._stamp: tuple[int, int] | None = None
        self._engine: Any = None
        self._answers: dict[tuple[Any, ...], bool] = {}

    def has(self, rule: str) -> bool:
        """Whether this is one of the service's rules."""
        return rule in self._rules

    def load(self) -> None:
        """Read everything now (a few tenths of a second the first time). Raises Invalid when the operator's file is not
        a policy file."""
        self._stamp = self._look()
        self._engine = self._build()
        self._looked = self._monotonic()
        self._answers.clear()

    def permits(self, context: Context, rule: str, target: Mapping[str, Any]) -> bool:
        """Whether the caller may do `rule` to `target` (flat keys such as `project_id` or `target.user.id`)."""
        if rule not in self._rules:
            return False
        self._refresh()
        key = (
            rule,
            context.user_id,
            context.project_id,
            context.roles,
            context.domain_id,
            context.system,
            tuple(target.items()),
        )
        answer = self._answers.get(key)
        if answer is None:
            answer = bool(self._engine.enforce(rule, dict(target), _credentials(context)))
            if len(self._answers) >= CAPACITY:
                self._answers.clear()
            self._answers[key] = answer
        return answer

    def _refresh(self) -> None:
        if self._engine is None:
            self.load()
            return
        moment = self._monotonic()
        if moment - self._looked < LOOK_SECONDS:
            return
        self._looked = moment
        if self._look() == self._stamp:
            return
        try:
            self.load()
        except Invalid as failure:
            # The last rules that made sense stay in force: a slip of the pen must not open or close a cloud.
            self._log.error("policy file refused", file=str(self._file), detail=failure.detail)

    def _look(self) -> tuple[int, int] | None:
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size

    def _build(self) -> Any:
        from oslo_config import cfg
        from oslo_policy import policy

        settings = cfg.ConfigOpts()
        settings([], project="kilonova", default_config_files=[], default_config_dirs=[])
        engine = policy.Enforcer(settings, use_conf=False)
        settings.set_override("policy_dirs", [], group="oslo_policy")
        own = self._overrides(policy)
        engine.register_defaults(
            [policy.RuleDefault(r.name, r.check, scope_types=list(r.scopes) or None) for r in self._rules.values()]
        )
        engine.set_rules(
            policy.Rules({**{r.name: policy.RuleDefault(r.name, r.check).check for r in self._rules.values()}, **own})
        )
        return engine

    def _overrides(self, policy: Any) -> dict[str, Any]:
        if self._file is None or self._stamp is None:
            return {}
        try:
            return dict(policy.Rules.load(self._file.read_text("utf-8")))
        except Exception as error:
            raise Invalid(f"{self._file} is not a policy file", detail=str(error)) from error


def _credentials(context: Context) -> dict[str, Any]:
    return {
        "user_id": context.user_id,
        "project_id": context.project_id,
        "tenant": context.project_id,
        "domain_id": context.domain_id,
        "user_domain_id": context.user_domain_id,
        "project_domain_id": context.project_domain_id,
        "roles": sorted(context.roles),
        "is_admin": context.is_admin,
        "is_admin_project": True,
        "system_scope": "all" if context.system else None,
    }
