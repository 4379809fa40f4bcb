"""The services of other clouds that stand in for kilonova's own."""

from __future__ import annotations

from kilonova.core.errors import Invalid
from kilonova.edge.openstack.keystone import Account, KeystoneAuthenticator
from kilonova.kit.clock import Clock
from kilonova.settings import Settings


def build_keystone(settings: Settings, clock: Clock) -> KeystoneAuthenticator | None:
    """The Keystone that the settings name; None where identity is kilonova's own. Raises Invalid for a half of one."""
    if settings.identity_mode == "own":
        return None
    if not settings.keystone_url or not settings.keystone_password:
        raise Invalid("identity_mode is keystone: keystone_url and keystone_password must be set")
    account = Account(
        settings.keystone_user, settings.keystone_password, settings.keystone_project, settings.keystone_domain
    )
    return KeystoneAuthenticator(settings.keystone_url, account, clock)
