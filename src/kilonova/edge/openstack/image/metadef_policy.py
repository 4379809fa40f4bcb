"""Rules of metadata definitions under Glance's names, with Glance's defaults.

Where a namespace is in the path, `project_id` is its owner and `visibility` its own. That only the owner's project, or
an administrator, changes a namespace is checked by the service besides, whatever an operator's file allows.
"""

from __future__ import annotations

from typing import Final

from kilonova.edge.openstack.policy import Rule

_ADMIN: Final = "rule:metadef_admin"
_READER: Final = "rule:context_is_admin or (role:reader and project_id:%(project_id)s)"
_READER_OR_PUBLIC: Final = (
    "rule:context_is_admin or (role:reader and (project_id:%(project_id)s or 'public':%(visibility)s))"
)
_READ: Final = (
    *("get_metadef_namespace", "get_metadef_object", "get_metadef_objects", "get_metadef_property"),
    *("get_metadef_properties", "get_metadef_tag", "get_metadef_tags"),
    *("list_metadef_resource_types", "get_metadef_resource_type"),
)
_CHANGE: Final = (
    *("add_metadef_namespace", "modify_metadef_namespace", "delete_metadef_namespace"),
    *("add_metadef_object", "modify_metadef_object", "delete_metadef_object"),
    *("add_metadef_property", "modify_metadef_property", "remove_metadef_property"),
    *("add_metadef_resource_type_association", "remove_metadef_resource_type_association"),
    *("add_metadef_tag", "add_metadef_tags", "modify_metadef_tag", "delete_metadef_tag", "delete_metadef_tags"),
)

METADEF_RULES: Final = (
    Rule("context_is_admin", "role:admin"),
    Rule("metadef_default", ""),
    Rule("metadef_admin", "rule:context_is_admin"),
    Rule("get_metadef_namespaces", _READER),
    *(Rule(name, _READER_OR_PUBLIC) for name in _READ),
    *(Rule(name, _ADMIN) for name in _CHANGE),
)
