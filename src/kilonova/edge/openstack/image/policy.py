"""Rules of the Image API under Glance's names, with Glance's defaults.

That an image is the caller's own, offered to it, or open to everybody is checked by the services, which know its
owner; the rules are asked about the caller's own project, and so decide by role.
"""

from __future__ import annotations

from typing import Final

from kilonova.edge.openstack.image.metadef_policy import METADEF_RULES
from kilonova.edge.openstack.policy import Rule, of_projects

_ADMIN: Final = "rule:context_is_admin"
_MEMBER: Final = f"{_ADMIN} or (role:member and project_id:%(project_id)s)"
_READER: Final = f"{_ADMIN} or (role:reader and project_id:%(project_id)s)"
_SERVICE: Final = "rule:service_api"

RULES: Final = of_projects(
    Rule("context_is_admin", "role:admin"),
    Rule("service_api", "role:service or role:admin"),
    Rule("default", _ADMIN),
    Rule("add_image", _MEMBER),
    Rule("delete_image", _MEMBER),
    Rule("get_image", f"{_READER} or role:service"),
    Rule("get_images", f"{_READER} or role:service"),
    Rule("modify_image", _MEMBER),
    Rule("publicize_image", _ADMIN),
    Rule("communitize_image", _MEMBER),
    Rule("download_image", f"{_MEMBER} or role:service"),
    Rule("upload_image", _MEMBER),
    Rule("add_image_location", f"{_SERVICE} or {_MEMBER}"),
    Rule("fetch_image_location", _SERVICE),
    Rule("add_member", _MEMBER),
    Rule("delete_member", _MEMBER),
    Rule("get_member", _READER),
    Rule("get_members", _READER),
    Rule("modify_member", _MEMBER),
    Rule("deactivate", _MEMBER),
    Rule("reactivate", _MEMBER),
    Rule("copy_image", _ADMIN),
    Rule("get_task", "rule:default"),
    Rule("get_tasks", "rule:default"),
    Rule("add_task", "rule:default"),
    Rule("tasks_api_access", _ADMIN),
    Rule("stores_info_detail", f"{_ADMIN} or {_SERVICE}"),
    Rule("cache_image", _ADMIN),
    Rule("cache_list", _ADMIN),
    Rule("cache_delete", _ADMIN),
    *METADEF_RULES,
)
