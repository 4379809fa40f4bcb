"""The rules of kilonova's own API, by name, in oslo.policy's language; an operator's `kilonova.yaml` overrides them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TELL: Final = "kilonova:servers:story"
TELL_ALL: Final = "kilonova:servers:story:all_projects"
EXPLAIN: Final = "kilonova:explain"
EXPLAIN_HOST: Final = "kilonova:explain:hosts"
STATUS: Final = "kilonova:status"
DOCTOR: Final = "kilonova:doctor"
DRAIN: Final = "kilonova:hosts:drain"
WATCH: Final = "kilonova:events"
WATCH_ALL: Final = "kilonova:events:all_projects"

_OPERATOR: Final = "role:admin and domain_id:None"
_ANYONE: Final = ""

RULES: Final[Mapping[str, str]] = {
    TELL: _ANYONE,  # a project sees its own servers only
    TELL_ALL: _OPERATOR,
    EXPLAIN: _ANYONE,
    EXPLAIN_HOST: _OPERATOR,
    DRAIN: _OPERATOR,
    STATUS: _OPERATOR,
    DOCTOR: _OPERATOR,
    WATCH: _ANYONE,  # a project sees its own events only
    WATCH_ALL: _OPERATOR,
}
