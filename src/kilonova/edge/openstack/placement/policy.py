"""Rules of the Placement API under Placement's names, with its present defaults."""

from __future__ import annotations

from typing import Final

from kilonova.edge.openstack.policy import Rule

PREFIX: Final = "placement:"
_SCOPES: Final = ("project",)
_NAMES: Final = {
    "resource_providers": ("list", "create", "show", "update", "delete"),
    "resource_providers:inventories": ("list", "create", "show", "update", "delete"),
    "resource_providers:aggregates": ("list", "update"),
    "resource_providers:traits": ("list", "update", "delete"),
    "resource_providers:allocations": ("list",),
    "resource_classes": ("list", "create", "show", "update", "delete"),
    "traits": ("list", "show", "update", "delete"),
    "allocations": ("manage", "list", "update", "delete"),
    "allocation_candidates": ("list",),
}

RULES: Final = (
    Rule("admin_api", "role:admin"),
    Rule("service_api", "role:service"),
    Rule("admin_or_service_api", "role:admin or role:service"),
    Rule("project_reader_api", "role:reader and project_id:%(project_id)s"),
    Rule("admin_or_project_reader_or_service_api", "role:admin or rule:project_reader_api or role:service"),
    *(
        Rule(f"{PREFIX}{noun}:{verb}", "rule:admin_or_service_api", _SCOPES)
        for noun, verbs in _NAMES.items()
        for verb in verbs
    ),
    Rule(f"{PREFIX}resource_providers:usages", "rule:admin_or_service_api", _SCOPES),
    Rule(f"{PREFIX}usages", "rule:admin_or_project_reader_or_service_api", _SCOPES),
    Rule(f"{PREFIX}reshaper:reshape", "rule:service_api", _SCOPES),
)
