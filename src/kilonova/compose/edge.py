"""The listener: every dialect on the control plane's services."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kilonova import __version__
from kilonova.compose.control import ENDPOINTS, Control
from kilonova.compose.package import NOVNC
from kilonova.edge.openstack.auth import Gate
from kilonova.edge.openstack.compute.policy import RULES as COMPUTE_RULES
from kilonova.edge.openstack.compute.routes import ComputeServices, build_compute
from kilonova.edge.openstack.identity.policy import RULES as IDENTITY_RULES
from kilonova.edge.openstack.identity.routes import IdentityServices, build_identity
from kilonova.edge.openstack.image.policy import RULES as IMAGE_RULES
from kilonova.edge.openstack.image.protection import load_protection
from kilonova.edge.openstack.image.routes import ImageServices, build_image_service
from kilonova.edge.openstack.network.policy import RULES as NETWORK_RULES
from kilonova.edge.openstack.network.routes import build_network_service
from kilonova.edge.openstack.placement.policy import RULES as PLACEMENT_RULES
from kilonova.edge.openstack.placement.routes import build_placement
from kilonova.edge.openstack.policy import Enforcer, Rule
from kilonova.edge.watch.policy import RULES as WATCH_RULES
from kilonova.edge.watch.routes import build_watch
from kilonova.edge.watch.stream import Streams
from kilonova.edge.web.console import ConsolePages, ConsoleProxy, build_console
from kilonova.edge.web.routes import WebEdge, build_web
from kilonova.kit.http import App, Service


def build_app(control: Control) -> App:
    """The ASGI application that serves everything."""
    settings = control.settings
    url, trusting = settings.public_url, settings.trust_forwarded
    sockets = ConsoleProxy(control.consoles, public_url=url, trust_forwarded=trusting)
    return App(build_services(control), public_url=url, trust_forwarded=trusting, sockets=sockets)


def build_services(control: Control) -> Sequence[Service]:
    """One service a dialect; identity only where it is kilonova's own."""
    observe = control.metrics.observe_request
    network = build_network_service(control.networks, _gate(control, "network", NETWORK_RULES), observe=observe)
    placement = build_placement(control.resources, _gate(control, "placement", PLACEMENT_RULES), observe=observe)
    identity = [] if control.keystone else [_identity(control)]
    pages = build_console(ConsolePages(NOVNC))
    every = (_image(control), network, placement, _compute(control), _watch(control), pages, _web(control))
    return [*identity, *every]


def _image(control: Control) -> Service:
    protection = load_protection(_policy_folder(control))
    services = ImageServices(
        control.images, control.uploads, control.image_members, control.image_imports, control.metadefs, protection
    )  # fmt: skip
    gate = _gate(control, "image", (*protection.rules(), *IMAGE_RULES))
    return build_image_service(services, gate, observe=control.metrics.observe_request)


def _identity(control: Control) -> Service:
    return build_identity(
        IdentityServices(
            control.authenticator, control.login, control.directory, control.catalog, control.applications,
            control.credentials, control.trusts, control.limits, control.clock,
        ),
        _enforcer(control, "identity", IDENTITY_RULES),
        observe=control.metrics.observe_request,
    )  # fmt: skip


def _compute(control: Control) -> Service:
    services = ComputeServices(
        servers=control.servers,
        feed=control.feed,
        actions=control.server_actions,
        imaging=control.server_images,
        moves=control.server_moves,
        server_groups=control.server_groups,
        server_nics=control.server_nics,
        attendance=control.attendance,
        consoles=control.consoles,
        outside=control.outside,
        usage_audit=control.usage_audit,
        flavors=control.flavors,
        keypairs=control.keypairs,
        images=control.images,
        networks=control.networks,
        quotas=control.quotas,
        hosts=control.hosts,
        aggregates=control.aggregates,
        console=control.console,
        project_exists=control.project_exists,
    )
    gate = _gate(control, "compute", COMPUTE_RULES)
    return build_compute(services, gate, control.cloud_id, observe=control.metrics.observe_request)


def _watch(control: Control) -> Service:
    gate = _gate(control, "kilonova", [Rule(name, check) for name, check in WATCH_RULES.items()])
    return build_watch(
        control.servers, control.flavors, control.hosts, control.census, control.audit,
        gate, __version__, control.drains, Streams(control.feed, gate, control.clock),
        observe=control.metrics.observe_request,
    )  # fmt: skip


def _web(control: Control) -> Service:
    index = {"name": "kilonova", "version": __version__, "endpoints": {e.service_type: e.path for e in ENDPOINTS}}
    return build_web(WebEdge(index, control.missing, control.metrics.render))


def _gate(control: Control, name: str, rules: Sequence[Rule]) -> Gate:
    return Gate(control.known, _enforcer(control, name, rules))


def _enforcer(control: Control, name: str, rules: Sequence[Rule]) -> Enforcer:
    return Enforcer(rules, _policy_folder(control) / f"{name}.yaml")


def _policy_folder(control: Control) -> Path:
    return Path(control.settings.policy_dir) if control.settings.policy_dir else control.state.root / "policy"
