"""Rules of the Network API under Neutron's names."""

from __future__ import annotations

from typing import Final

from kilonova.edge.openstack.policy import Rule

_READ: Final = "role:admin or role:manager or role:member or role:reader or role:service"
_WRITE: Final = "role:admin or role:manager or role:member"
_ADMIN: Final = "role:admin"
_NET_OWNER: Final = f"role:admin or role:service or (({_WRITE}) and project_id:%(network_project_id)s)"

_KINDS: Final = ("network", "subnet", "port", "router", "security_group", "security_group_rule")

RULES: Final = (
    *(Rule(f"get_{kind}", _READ) for kind in _KINDS),
    *(Rule(f"{verb}_{kind}", _WRITE) for kind in _KINDS for verb in ("create", "update", "delete")),
    *(
        Rule(f"{verb}_network:{name}", _ADMIN)
        for verb in ("create", "update")
        for name in ("shared", "router:external")
    ),
    Rule("create_port:mac_address", _NET_OWNER),
    Rule("create_port:fixed_ips:ip_address", _NET_OWNER),
    Rule("create_port:port_security_enabled", _NET_OWNER),
    Rule("update_port:mac_address", _ADMIN),
    Rule("update_port:fixed_ips:ip_address", _NET_OWNER),
    Rule("update_port:port_security_enabled", _NET_OWNER),
    Rule("get_port:binding:host_id", _ADMIN),
    Rule("add_router_interface", _WRITE),
    Rule("remove_router_interface", _WRITE),
    Rule("create_router:external_gateway_info:enable_snat", _ADMIN),
    Rule("create_router:external_gateway_info:external_fixed_ips", _ADMIN),
    Rule("update_router:external_gateway_info:enable_snat", _ADMIN),
    Rule("update_router:external_gateway_info:external_fixed_ips", _ADMIN),
    Rule("get_quota", f"{_ADMIN} or (({_READ}) and project_id:%(project_id)s)"),
    Rule("update_quota", _ADMIN),
    Rule("get_floatingip", _READ),
    Rule("get_agent", _READ),
    Rule("get_availability_zone", _READ),
)
"""Whose a thing is, and who may see it, is checked by the service, which knows its owner."""
