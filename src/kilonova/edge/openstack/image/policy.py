"""Rules of the Image API under Glance's names."""

from __future__ import annotations

from typing import Final

from kilonova.edge.openstack.image.metadef_policy import METADEF_RULES
from kilonova.edge.openstack.policy import Rule

_READ: Final = "role:admin or role:manager or role:member or role:reader or role:service"
_WRITE: Final = "role:admin or role:manager or role:member"

RULES: Final = (
    Rule("get_images", _READ),
    Rule("get_image", _READ),
    Rule("download_image", _READ),
    Rule("add_image", _WRITE),
    Rule("modify_image", _WRITE),
    Rule("upload_image", _WRITE),
    Rule("delete_image", _WRITE),
    Rule("communitize_image", _WRITE),
    Rule("publicize_image", "role:admin"),
    Rule("deactivate", "role:admin"),
    Rule("reactivate", "role:admin"),
    *METADEF_RULES,
)
"""That an image is the caller's own is checked by the service, which knows its owner."""
