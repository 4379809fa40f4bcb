"""Identity's policy rules, by Keystone's names."""

from __future__ import annotations

from typing import Final

from kilonova.edge.openstack.policy import Rule

_ADMIN: Final = "rule:admin_required"
_READ: Final = "rule:admin_required or (role:reader and system_scope:all)"
_OWN_USER: Final = f"{_READ} or user_id:%(target.user.id)s"

_ADMIN_ONLY: Final = tuple(
    f"identity:{verb}_{noun}"
    for noun in ("domain", "project", "user", "role")
    for verb in ("create", "update", "delete")
)
_READERS: Final = (
    "list_domains",
    "get_domain",
    "list_projects",
    "list_users",
    "list_roles",
    "get_role",
    "list_role_assignments",
    "list_role_inference_rules",
    "list_grants",
    "check_grant",
    "list_system_grants_for_user",
    "check_system_grant_for_user",
    "list_services",
    "get_service",
    "list_endpoints",
    "get_endpoint",
)

RULES: Final = (
    Rule("admin_required", "role:admin"),
    Rule("owner", "user_id:%(target.user.id)s"),
    *(Rule(name, _ADMIN) for name in _ADMIN_ONLY),
    *(Rule(f"identity:{name}", _READ) for name in _READERS),
    Rule("identity:create_grant", _ADMIN),
    Rule("identity:revoke_grant", _ADMIN),
    Rule("identity:create_system_grant_for_user", _ADMIN),
    Rule("identity:revoke_system_grant_for_user", _ADMIN),
    Rule("identity:get_project", f"{_READ} or project_id:%(target.project.id)s"),
    Rule("identity:get_user", _OWN_USER),
    Rule("identity:list_user_projects", _OWN_USER),
    Rule("identity:list_regions", ""),
    Rule("identity:get_region", ""),
    Rule("identity:get_auth_catalog", ""),
    Rule("identity:get_auth_projects", ""),
    Rule("identity:get_auth_domains", ""),
    Rule("identity:get_auth_system", ""),
    Rule("identity:validate_token", f"{_READ} or role:service or user_id:%(target.token.user_id)s"),
    Rule("identity:check_token", f"{_READ} or user_id:%(target.token.user_id)s"),
    Rule("identity:revoke_token", f"{_ADMIN} or user_id:%(target.token.user_id)s"),
)
