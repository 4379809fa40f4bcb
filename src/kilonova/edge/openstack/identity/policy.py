"""Identity's policy rules, by Keystone's names, with the defaults of its secure RBAC personas: administrators, managers
and readers of the cloud or of a domain. Who has a token for a domain has no rights beyond it, whatever the role."""

from __future__ import annotations

from typing import Final

from kilonova.edge.openstack.identity.credential_policy import CREDENTIAL_RULES
from kilonova.edge.openstack.policy import Rule

_ADMIN: Final = "rule:admin_required"
_READ: Final = f"{_ADMIN} or (role:reader and system_scope:all)"


def _reader(noun: str) -> str:
    """Readers of the cloud, and those of the domain in which the target lies."""
    return f"{_READ} or (role:reader and domain_id:%({noun})s)"


def _manager(noun: str) -> str:
    """Administrators, and managers of the domain in which the target lies (its administrators are managers too)."""
    return f"{_ADMIN} or (role:manager and domain_id:%({noun})s)"


_PROJECT: Final = "target.project.domain_id"
_USER: Final = "target.user.domain_id"
_GROUP: Final = "target.group.domain_id"
_OWN: Final = "user_id:%(target.user.id)s"
_BOTH: Final = f"domain_id:%({_GROUP})s and domain_id:%({_USER})s"
_INSIDE: Final = " or ".join(
    f"(domain_id:%(target.{actor}.domain_id)s and domain_id:%({place})s)"
    for actor in ("user", "group")
    for place in (_PROJECT, "target.domain.id")
)
"""A grant whose actor and target lie in the caller's domain."""
_ROLE_FITS: Final = "(domain_id:%(target.role.domain_id)s or None:%(target.role.domain_id)s)"
_GRANT: Final = f"{_ADMIN} or (role:manager and ({_INSIDE}) and rule:domain_managed_target_role and {_ROLE_FITS})"
"""A domain's administrators give as its managers do: who has `admin` on a project administers the whole cloud."""
_TAG: Final = f"{_reader(_PROJECT)} or project_id:%(target.project.id)s"

_ADMIN_ONLY: Final = (
    *(f"{verb}_{noun}" for noun in ("domain", "role", "domain_role") for verb in ("create", "update", "delete")),
    *(f"{verb}_system_grant_for_{actor}" for actor in ("user", "group") for verb in ("create", "revoke")),
    "create_implied_role",
    "delete_implied_role",
)
_CLOUD_READERS: Final = (
    "get_domain_role",
    "list_domain_roles",
    "get_implied_role",
    "list_implied_roles",
    "check_implied_role",
    "list_role_inference_rules",
    *(f"list_system_grants_for_{actor}" for actor in ("user", "group")),
    *(f"check_system_grant_for_{actor}" for actor in ("user", "group")),
    "list_services",
    "get_service",
    "list_endpoints",
    "get_endpoint",
)
_PEOPLE: Final = {
    "get_domain": f"{_READ} or domain_id:%(target.domain.id)s or project_domain_id:%(target.domain.id)s",
    "list_domains": _reader("target.domain.id"),
    "list_projects": _reader("target.domain_id"),
    "get_project": _TAG,
    "list_user_projects": f"{_reader(_USER)} or {_OWN}",
    **{f"{verb}_project": _manager(_PROJECT) for verb in ("create", "update", "delete")},
    "list_project_tags": _TAG,
    "get_project_tag": _TAG,
    **{f"{verb}_project_tags": _manager(_PROJECT) for verb in ("update", "delete")},
    **{f"{verb}_project_tag": _manager(_PROJECT) for verb in ("create", "delete")},
    "list_users": _reader("target.domain_id"),
    "get_user": f"{_reader(_USER)} or {_OWN}",
    **{f"{verb}_user": _manager(_USER) for verb in ("create", "update", "delete")},
    "list_groups": _reader(_GROUP),
    "get_group": _reader(_GROUP),
    **{f"{verb}_group": _manager(_GROUP) for verb in ("create", "update", "delete")},
    "list_groups_for_user": f"{_reader(_USER)} or {_OWN}",
    "list_users_in_group": _reader(_GROUP),
    "check_user_in_group": f"{_READ} or (role:reader and {_BOTH})",
    "add_user_to_group": f"{_ADMIN} or (role:manager and {_BOTH})",
    "remove_user_from_group": f"{_ADMIN} or (role:manager and {_BOTH})",
    "get_role": f"{_READ} or (role:manager and rule:domain_managed_target_role)",
    "list_roles": f"{_READ} or (role:manager and not domain_id:None)",
    "list_grants": f"{_READ} or (role:reader and ({_INSIDE}))",
    "check_grant": f"{_READ} or (role:reader and ({_INSIDE}) and {_ROLE_FITS})",
    "create_grant": _GRANT,
    "revoke_grant": _GRANT,
    "list_role_assignments": _reader("target.domain_id"),
    "list_role_assignments_for_tree": _reader("target.domain_id"),
}

RULES: Final = (
    Rule("admin_required", "role:admin and domain_id:None"),
    Rule("owner", "user_id:%(target.user.id)s"),
    *CREDENTIAL_RULES,
    Rule(
        "domain_managed_target_role",
        " or ".join(f"'{name}':%(target.role.name)s" for name in ("manager", "member", "reader")),
    ),
    *(Rule(f"identity:{name}", _ADMIN) for name in _ADMIN_ONLY),
    *(Rule(f"identity:{name}", _READ) for name in _CLOUD_READERS),
    *(Rule(f"identity:{name}", check) for name, check in _PEOPLE.items()),
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
