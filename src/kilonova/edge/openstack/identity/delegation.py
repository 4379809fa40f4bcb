"""Rights passed on: which roles, and who may not pass on any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kilonova.cloud.identity.model import Named
from kilonova.core.context import Context
from kilonova.core.errors import Forbidden, Invalid


def named_role(given: Mapping[str, Any]) -> Named:
    """A role in a body, by id or name. Raises Invalid."""
    if "id" not in given and "name" not in given:
        raise Invalid("Expecting to find id or name in roles.")
    return Named(id=given.get("id"), name=given.get("name"))


def refuse_delegated(context: Context, message: str, *, but_application: bool = False, but_trust: str = "") -> None:
    """What was got by delegation leads to nothing that outlives it or is more. `but_application`: an application
    credential may; `but_trust`: this trust may. Raises Forbidden with `message`."""
    if not context.delegated or (but_application and context.by_application):
        return
    if not but_trust or context.trust_id != but_trust:
        raise Forbidden(message)
