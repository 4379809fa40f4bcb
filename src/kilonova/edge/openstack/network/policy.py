"""Rules of the Network API under Neutron's names."""

from __future__ import annotations

from typing import Final

from kilonova.edge.openstack.policy import Rule, of_projects

_READ: Final = "role:admin or role:manager or role:member or role:reader or role:service"
_WRITE: Final = "role:admin or role:manager or role:member"
_ADMIN: Final = "role:admin"
_SERVICE: Final = "role:admin or role:service"
_NET_OWNER: Final = f"role:admin or role:service or (({_WRITE}) and project_id:%(network_project_id)s)"

_KINDS: Final = (
    "network", "subnet", "port", "router", "security_group", "security_group_rule", "floatingip",
    "floatingip_port_forwarding", "subnetpool", "address_scope", "address_group", "rbac_policy",
)  # fmt: skip
_TAGGED: Final = ("networks", "subnets", "ports", "routers", "floatingips", "subnetpools", "security_groups")

RULES: Final = of_projects(
    *(Rule(f"get_{kind}", _READ) for kind in _KINDS),
    *(Rule(f"{verb}_{kind}", _WRITE) for kind in _KINDS for verb in ("create", "update", "delete")),
    *(
        Rule(f"{verb}_network:{name}", _ADMIN)
        for verb in ("create", "update")
        for name in ("shared", "router:external", "provider:network_type")
    ),
    Rule("get_network:provider:network_type", _ADMIN),
    *(Rule(f"{verb}_subnet:service_types", _ADMIN) for verb in ("create", "update")),
    *(Rule(f"get_{kind}_tags", _READ) for kind in _TAGGED),
    *(Rule(f"{verb}_{kind}_tags", _WRITE) for kind in _TAGGED for verb in ("create", "update", "delete")),
    Rule("create_floatingip:floating_ip_address", _ADMIN),
    *(Rule(f"{verb}_subnetpool:{name}", _ADMIN) for verb in ("create", "update") for name in ("shared", "is_default")),
    *(Rule(f"{verb}_address_scope:shared", _ADMIN) for verb in ("create", "update")),
    *(Rule(f"{verb}_rbac_policy:target_tenant", _ADMIN) for verb in ("create", "update")),
    Rule("create_port:mac_address", _NET_OWNER),
    Rule("create_port:fixed_ips:ip_address", _NET_OWNER),
    Rule("create_port:port_security_enabled", _NET_OWNER),
    Rule("update_port:mac_address", _ADMIN),
    Rule("update_port:fixed_ips:ip_address", _NET_OWNER),
    Rule("update_port:port_security_enabled", _NET_OWNER),
    *(
        Rule(f"{verb}_port:{name}", check)
        for verb in ("create", "update")
        for name, check in (
            ("allowed_address_pairs", _NET_OWNER),
            ("binding:host_id", _SERVICE),
            ("binding:profile", _SERVICE),
            ("binding:vnic_type", _WRITE),
        )
    ),
    Rule("get_port:binding:host_id", _ADMIN),
    Rule("add_router_interface", _WRITE),
    Rule("remove_router_interface", _WRITE),
    Rule("add_prefixes", _WRITE),
    Rule("remove_prefixes", _WRITE),
    Rule("add_extraroutes", _WRITE),
    Rule("remove_extraroutes", _WRITE),
    Rule("create_router:external_gateway_info:enable_snat", _ADMIN),
    Rule("create_router:external_gateway_info:external_fixed_ips", _ADMIN),
    Rule("update_router:external_gateway_info:enable_snat", _ADMIN),
    Rule("update_router:external_gateway_info:external_fixed_ips", _ADMIN),
    Rule("get_quota", f"{_ADMIN} or (({_READ}) and project_id:%(project_id)s)"),
    Rule("get_quotas", _ADMIN),
    Rule("update_quota", _ADMIN),
    Rule("delete_quota", _ADMIN),
    Rule("get_network_ip_availability", _ADMIN),
    Rule("get_service_provider", _READ),
    Rule("get_agent", _ADMIN),
    Rule("get_agents", _READ),
    Rule("get_availability_zone", _READ),
)
"""Whose a thing is, and who may see it, is checked by the service, which knows its owner."""
