"""Rules of the Compute API under Nova's names, with Nova's defaults of today. Those without a prefix are
building blocks, which operators' own files refer to."""

from __future__ import annotations

from typing import Final

from kilonova.core.context import ALL, Context, Scope
from kilonova.edge.openstack.policy import Rule, of_projects
from kilonova.kit.http import Request

_READER: Final = "rule:project_reader_or_admin"
_MEMBER: Final = "rule:project_member_or_admin"
_MANAGER: Final = "rule:project_manager_or_admin"
_ADMIN: Final = "rule:context_is_admin"
_OWNER: Final = "rule:context_is_admin or user_id:%(user_id)s"
_SERVICE: Final = "role:service or rule:context_is_admin"
_ANYBODY: Final = "@"

_TABLE: Final[dict[str, tuple[str, ...]]] = {
    _READER: (
        "servers:index", "servers:detail", "servers:show", "ips:index", "ips:show", "os-attach-interfaces:list",
        "os-attach-interfaces:show", "server-metadata:index",
        "server-metadata:show", "os-instance-actions:list", "os-instance-actions:show",
        "os-quota-sets:show", "os-quota-sets:detail", "os-flavor-extra-specs:index", "os-flavor-extra-specs:show",
        "os-security-groups:get", "os-security-groups:show", "os-floating-ips:list", "os-floating-ips:show",
        "os-floating-ip-pools", "os-networks:list", "os-networks:show", "os-tenant-networks:list",
        "os-tenant-networks:show",
        "os-server-password:show", "os-security-groups:list", "compute:server:topology:index",
        "os-volumes-attachments:index", "os-server-tags:index", "os-server-tags:show",
        "os-simple-tenant-usage:show", "os-server-groups:index", "os-server-groups:show",
    ),
    _MEMBER: (
        "os-pause-server:pause", "os-pause-server:unpause", "os-suspend-server:suspend", "os-suspend-server:resume",
        "os-lock-server:lock", "os-lock-server:unlock", "os-rescue", "os-unrescue", "servers:rebuild",
        "servers:create_image", "os-create-backup", "os-shelve:shelve", "os-shelve:unshelve",
        "os-deferred-delete:restore",
        "os-server-groups:create", "os-server-groups:delete",
        "os-server-tags:update", "os-server-tags:update_all", "os-server-tags:delete", "os-server-tags:delete_all",
        "os-security-groups:add", "os-security-groups:remove", "os-multinic:add", "os-multinic:remove",
        "os-floating-ips:add", "os-floating-ips:remove", "os-floating-ips:create", "os-floating-ips:delete",
        "os-security-groups:create", "os-security-groups:update", "os-security-groups:delete",
        "os-security-groups:rule:create", "os-security-groups:rule:delete",
        "os-remote-consoles", "os-server-password:clear",
        "os-admin-password", "servers:trigger_crash_dump", "os-attach-interfaces:create", "os-attach-interfaces:delete",
        "servers:resize", "servers:confirm_resize", "servers:revert_resize",
        "servers:create", "servers:delete", "servers:update", "servers:start", "servers:stop", "servers:reboot",
        "os-console-output", "os-deferred-delete:force", "server-metadata:create", "server-metadata:update",
        "server-metadata:update_all", "server-metadata:delete",
    ),
    _MANAGER: (
        "os-migrate-server:migrate", "os-migrate-server:migrate_live", "os-migrations:index",
        "servers:migrations:index", "servers:migrations:show", "servers:migrations:force_complete",
        "servers:migrations:delete",
    ),
    _ADMIN: (
        "os-simple-tenant-usage:list", "os-server-groups:index:all_projects",
        "os-console-auth-tokens", "os-server-diagnostics", "compute:server:topology:host:index",
        "os-migrate-server:migrate:host", "os-migrate-server:migrate_live:host",
        "os-shelve:shelve_offload", "os-shelve:unshelve_to_host", "os-evacuate",
        "os-lock-server:unlock:unlock_override", "os-admin-actions:reset_state",
        "servers:create:forced_host", "servers:index:get_all_tenants", "servers:detail:get_all_tenants",
        "servers:allow_all_filters", "servers:show:host_status", "os-extended-server-attributes",
        "os-instance-actions:events", "os-instance-actions:events:details", "limits:other_project",
        "os-quota-sets:update", "os-quota-sets:delete", "os-quota-class-sets:show", "os-quota-class-sets:update",
         "os-services:list", "os-services:update",
        "os-services:delete", "os-instance-usage-audit-log:list", "os-instance-usage-audit-log:show",
        "os-hosts:list", "os-hosts:show", "os-hosts:update", "os-hypervisors:list",
        "os-hypervisors:list-detail", "os-hypervisors:show",
        "os-hypervisors:search", "os-hypervisors:servers", "os-hypervisors:statistics", "os-hypervisors:uptime",
        "os-availability-zone:detail", "os-aggregates:index", "os-aggregates:show", "os-aggregates:create",
        "os-aggregates:update", "os-aggregates:delete", "os-aggregates:add_host", "os-aggregates:remove_host",
        "os-aggregates:set_metadata", "os-flavor-manage:create", "os-flavor-manage:update",
        "os-flavor-manage:delete", "os-flavor-extra-specs:create", "os-flavor-extra-specs:update",
        "os-flavor-extra-specs:delete", "os-flavor-access", "os-flavor-access:add_tenant_access",
        "os-flavor-access:remove_tenant_access",
    ),
    _SERVICE: ("os-server-external-events:create",),
    _OWNER: ("os-keypairs:index", "os-keypairs:create", "os-keypairs:show", "os-keypairs:delete"),
    _ANYBODY: ("extensions", "limits", "os-availability-zone:list", "os-quota-sets:defaults"),
}  # fmt: skip

RULES: Final = of_projects(
    Rule("context_is_admin", "role:admin"),
    Rule("admin_api", "rule:context_is_admin"),
    Rule("admin_or_owner", "rule:context_is_admin or project_id:%(project_id)s"),
    Rule("project_reader_api", "role:reader and project_id:%(project_id)s"),
    Rule("project_member_api", "role:member and project_id:%(project_id)s"),
    Rule("project_manager_api", "role:manager and project_id:%(project_id)s"),
    Rule("project_manager_or_admin", "rule:project_manager_api or rule:context_is_admin"),
    Rule("project_reader_or_admin", "rule:project_reader_api or rule:context_is_admin"),
    Rule("project_member_or_admin", "rule:project_member_api or rule:context_is_admin"),
    Rule("compute:servers:create:requested_destination", _ADMIN),
    *(Rule(f"os_compute_api:{name}", check) for check, names in _TABLE.items() for name in names),
)

PREFIX: Final = "os_compute_api:"
_OTHER: Final = "\N{BULLET}"
"""A project that is nobody's: what policy allows there, it allows everywhere."""


def reach(request: Request) -> Scope:
    """Whose servers the caller may do this to: all, where policy allows it in projects not the caller's own."""
    route = request.route
    rule = route.policy if route else ""
    return ALL if request.permits(rule, project_id=_OTHER, user_id=_OTHER) else request.context.scope


def owner_of(context: Context) -> str:
    """The caller's project, "" without one."""
    return context.project_id or ""
