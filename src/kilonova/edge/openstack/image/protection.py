"""Property protections: who may create, read, update and delete which properties, from a file as Glance has it.

    [^x_billing_.*]
    create = admin
    read = admin,member
    update = admin
    delete = !

Sections are regular expressions; the first that matches anywhere in a property's name counts, and what none matches is
denied to all. Values are roles, or each one rule of policy; `@` is everybody, `!` nobody (Glance, "Property
protections").
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from kilonova.cloud.image.model import Deed
from kilonova.core.errors import Forbidden, Invalid
from kilonova.edge.openstack.policy import Rule
from kilonova.kit.http import Request

Act = Literal["create", "read", "update", "delete"]
_ACTS: Final[tuple[Act, ...]] = ("create", "read", "update", "delete")
_WRITES: Final[tuple[Literal["create", "update", "delete"], ...]] = ("create", "update", "delete")


@dataclass(frozen=True, slots=True)
class _Section:
    names: re.Pattern[str]
    permitted: dict[Act, frozenset[str]]


class Protection:
    """Asked about the properties of one request. Without a file nothing is protected."""

    def __init__(self, sections: tuple[_Section, ...] | None = None, *, by_policy: bool = False) -> None:
        self._sections = sections
        self._by_policy = by_policy

    @property
    def is_on(self) -> bool:
        """Whether there is a file."""
        return self._sections is not None

    def rules(self) -> list[Rule]:
        """The rules of policy that the file names; denied unless the operator's policy file defines them."""
        if not self._by_policy:
            return []
        named: set[str] = {name for s in self._sections or () for names in s.permitted.values() for name in names}
        return [Rule(name, "!") for name in sorted(named - {"@", "!"})]

    def check(self, request: Request, act: Act, names: Iterable[str]) -> None:
        """Raises Forbidden when the caller may not do this to one of the properties."""
        for name in names:
            if not self._permits(request, act, name):
                raise Forbidden(f"Property '{name}' is protected")

    def denied(self, request: Request, names: Iterable[str]) -> frozenset[Deed]:
        """What the caller may not do to these properties."""
        deeds: list[Deed] = [(act, name) for name in names for act in _WRITES] if self.is_on else []
        return frozenset(deed for deed in deeds if not self._permits(request, *deed))

    def hidden(self, request: Request, names: Iterable[str]) -> list[str]:
        """Those of the properties that the caller may not read."""
        return [name for name in names if not self._permits(request, "read", name)] if self.is_on else []

    def _permits(self, request: Request, act: Act, name: str) -> bool:
        if self._sections is None:
            return True
        for section in self._sections:
            if section.names.search(name):
                return self._is_one_of(request, section.permitted[act])
        return False

    def _is_one_of(self, request: Request, permitted: frozenset[str]) -> bool:
        if "@" in permitted or "!" in permitted:
            return "@" in permitted
        if self._by_policy:
            return any(request.permits(rule) for rule in permitted)
        return bool(permitted & {role.lower() for role in request.context.roles})


def load_protection(folder: Path) -> Protection:
    """`property-protections-roles.conf`, else `property-protections-policies.conf`, else nothing is protected. Raises
    Invalid when the file is none."""
    for kind in ("roles", "policies"):
        file = folder / f"property-protections-{kind}.conf"
        if file.is_file():
            return Protection(_read(file, lower=kind == "roles"), by_policy=kind == "policies")
    return Protection()


def _read(file: Path, *, lower: bool) -> tuple[_Section, ...]:
    parser = configparser.RawConfigParser(default_section="", delimiters=("=",))
    try:
        parser.read_string(file.read_text("utf-8"), str(file))
        return tuple(_section(parser, name, lower=lower) for name in parser.sections())
    except (configparser.Error, re.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise Invalid(f"{file} is not a file of property protections: {error}") from error


def _section(parser: configparser.RawConfigParser, name: str, *, lower: bool) -> _Section:
    permitted: dict[Act, frozenset[str]] = {}
    for act in _ACTS:
        text = parser[name][act]
        values = frozenset(value.strip().lower() if lower else value.strip() for value in text.split(","))
        if len(values) > 1 and values & {"@", "!"}:
            raise ValueError(f"[{name}] {act}: '@' and '!' stand alone")
        permitted[act] = values - {""}
    return _Section(re.compile(name), permitted)
