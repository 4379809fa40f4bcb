"""Policy rules about credentials, trusts, the catalog and limits, by Keystone's names and with its defaults."""

from __future__ import annotations

from typing import Final

from kilonova.edge.openstack.policy import Rule

_ADMIN: Final = "rule:admin_required"
_SYSTEM_READER: Final = "role:reader and system_scope:all"
_READ: Final = f"{_ADMIN} or ({_SYSTEM_READER})"
_OWN_CREDENTIAL: Final = "user_id:%(target.credential.user_id)s"
_TRUSTOR: Final = "user_id:%(target.trust.trustor_user_id)s"
_TRUSTEE: Final = "user_id:%(target.trust.trustee_user_id)s"
_OWN_LIMIT: Final = (
    f"{_READ} or (domain_id:%(target.limit.domain.id)s or domain_id:%(target.limit.project.domain_id)s)"
    " or (project_id:%(target.limit.project_id)s and not None:%(target.limit.project_id)s)"
)
_CHANGED: Final = (
    *(f"{verb}_{noun}" for noun in ("region", "service", "endpoint") for verb in ("create", "update", "delete")),
    "create_registered_limits",
    "update_registered_limit",
    "delete_registered_limit",
    "create_limits",
    "update_limit",
    "delete_limit",
)

CREDENTIAL_RULES: Final = (
    Rule("service_role", "role:service"),
    Rule("service_or_admin", "rule:admin_required or rule:service_role"),
    *(Rule(f"identity:{name}", _ADMIN) for name in _CHANGED),
    *(
        Rule(f"identity:{name}", "")
        for name in ("get_limit_model", "list_limits", "get_registered_limit", "list_registered_limits")
    ),
    Rule("identity:get_limit", _OWN_LIMIT),
    Rule("identity:get_application_credential", f"{_READ} or rule:owner"),
    Rule("identity:list_application_credentials", f"{_READ} or rule:owner"),
    Rule("identity:create_application_credential", "user_id:%(user_id)s"),
    Rule("identity:delete_application_credential", f"{_ADMIN} or rule:owner"),
    Rule("identity:get_access_rule", f"({_SYSTEM_READER}) or user_id:%(target.user.id)s"),
    Rule("identity:list_access_rules", f"({_SYSTEM_READER}) or user_id:%(target.user.id)s"),
    Rule("identity:delete_access_rule", "(role:admin and system_scope:all) or user_id:%(target.user.id)s"),
    *(Rule(f"identity:{verb}_credential", f"{_READ} or {_OWN_CREDENTIAL}") for verb in ("get", "ec2_get")),
    Rule("identity:list_credentials", f"{_READ} or {_OWN_CREDENTIAL}"),
    *(Rule(f"identity:{verb}_credential", f"{_ADMIN} or {_OWN_CREDENTIAL}") for verb in ("create", "update", "delete")),
    Rule("identity:ec2_list_credentials", f"{_READ} or rule:owner"),
    *(
        Rule(f"identity:{verb}_credential", f"{_ADMIN} or (role:member and {_OWN_CREDENTIAL})")
        for verb in ("ec2_create", "ec2_delete")
    ),
    Rule("identity:ec2tokens_validate", "rule:service_or_admin"),
    Rule("identity:s3tokens_validate", "rule:service_or_admin"),
    Rule("identity:create_trust", _TRUSTOR),
    Rule("identity:list_trusts", _READ),
    Rule("identity:list_trusts_for_trustor", f"{_READ} or {_TRUSTOR}"),
    Rule("identity:list_trusts_for_trustee", f"{_READ} or {_TRUSTEE}"),
    *(
        Rule(f"identity:{name}", f"{_READ} or {_TRUSTOR} or {_TRUSTEE}")
        for name in ("get_trust", "list_roles_for_trust", "get_role_for_trust")
    ),
    Rule("identity:delete_trust", f"{_ADMIN} or {_TRUSTOR}"),
)
