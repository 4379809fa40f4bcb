"""Packets between real guests, to the outside, and those that must not pass."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from cloud import RealCloud, Server, inside, run, within

from kilonova.node.driver.net.namespace import run_inside

pytestmark = pytest.mark.vm

ELSEWHERE = "10.207.9.0/24"
GREETING = "SSH-2.0-dropbear"


def address(server: Server) -> str:
    (found,) = (a["addr"] for nics in server["addresses"].values() for a in nics)
    return str(found)


def greets(cloud: RealCloud, origin: Server, target: str, port: int = 22) -> bool:
    """Whether a guest gets a word out of a TCP port."""
    return GREETING in cloud.ssh_directly(origin, f"nc -w 3 {target} {port} </dev/null", check=False)


def reaches(namespace: str, target: str, port: int = 22, seconds: float = 2.0) -> bool:
    """Whether a connection can be made from a network namespace."""

    def connect() -> bool:
        with socket.socket() as caller:
            caller.settimeout(seconds)
            return caller.connect_ex((target, port)) == 0

    return run_inside(namespace, connect)


@pytest.fixture(scope="module")
def outside(cloud: RealCloud) -> Iterator[str]:
    """A machine on the external network: its namespace. It knows the way to the private network by the router."""
    router = cloud.api.get("/network/v2.0/routers", name="router1")["routers"][0]
    gateway = router["external_gateway_info"]["external_fixed_ips"][0]["ip_address"]
    public = cloud.api.get("/network/v2.0/subnets", name="public-subnet")["subnets"][0]
    private = cloud.api.get("/network/v2.0/subnets", name="private-subnet")["subnets"][0]
    bridge = bridge_of(cloud, "public")
    name, plug = f"knt{cloud.cloud_id}", f"ve{cloud.cloud_id}"
    run("ip", "netns", "add", name)
    run("ip", "link", "add", plug, "type", "veth", "peer", "name", "out", "netns", name)
    run("ip", "link", "set", plug, "master", bridge, "up")
    for words in ("link set lo up", "link set out up", f"address add {public['cidr'].replace('.0/', '.250/')} dev out"):
        run("ip", "-n", name, *words.split())
    run("ip", "-n", name, "route", "add", private["cidr"], "via", gateway)
    run("ip", "-n", name, "route", "add", ELSEWHERE, "via", gateway)
    yield name
    run("ip", "link", "delete", plug)
    run("ip", "netns", "delete", name)


@pytest.fixture(scope="module")
def elsewhere(cloud: RealCloud) -> Iterator[str]:
    """Another network behind the same router: its namespace stands for a machine in it."""
    network = cloud.api.post("/network/v2.0/networks", {"network": {"name": "elsewhere"}})["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": ELSEWHERE, "name": "elsewhere"}
    subnet_id = cloud.api.post("/network/v2.0/subnets", {"subnet": subnet})["subnet"]["id"]
    router = cloud.api.get("/network/v2.0/routers", name="router1")["routers"][0]["id"]
    cloud.api.put(f"/network/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnet_id})
    namespace = cloud.naming.network_namespace(network)
    within(10, lambda: f"{namespace} " in run("ip", "netns", "list") + " ", lambda: "the network does not come up")
    yield namespace
    cloud.api.put(f"/network/v2.0/routers/{router}/remove_router_interface", {"subnet_id": subnet_id})
    cloud.api.delete(f"/network/v2.0/networks/{network}")
    within(15, lambda: namespace not in run("ip", "netns", "list"), lambda: "the network does not go")


@pytest.fixture
def closed(cloud: RealCloud, beta: Server) -> Iterator[str]:
    """A security group that lets nothing in, in which beta is meanwhile."""
    group = cloud.api.post("/network/v2.0/security-groups", {"security_group": {"name": "closed"}})["security_group"]
    port = cloud.api.get("/network/v2.0/ports", device_id=beta["id"])["ports"][0]
    set_groups(cloud, port["id"], [group["id"]])
    yield group["id"]
    set_groups(cloud, port["id"], port["security_groups"])
    cloud.api.delete(f"/network/v2.0/security-groups/{group['id']}")


def set_groups(cloud: RealCloud, port: str, groups: list[str]) -> None:
    cloud.api.put(f"/network/v2.0/ports/{port}", {"port": {"security_groups": groups}})


def let_in(cloud: RealCloud, group: str, **more: object) -> str:
    rule = {"security_group_id": group, "direction": "ingress", "ethertype": "IPv4", **more}
    made = cloud.api.post("/network/v2.0/security-group-rules", {"security_group_rule": rule})
    return str(made["security_group_rule"]["id"])


def bridge_of(cloud: RealCloud, network: str) -> str:
    identifier = cloud.api.network_id(network)
    lines = run("ip", "-o", "link", "show", "type", "bridge").splitlines()
    return next(line.split(": ")[1] for line in lines if f"alias {identifier}" in line)


@contextlib.contextmanager
def listening(namespace: str, port: int) -> Iterator[Callable[[], str]]:
    """A server that tells each caller its address, and afterwards who called."""
    callers: list[str] = []

    def listen() -> socket.socket:
        return socket.create_server(("", port))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, peer = server.accept()
                callers.append(peer[0])
                with connection:
                    connection.sendall(peer[0].encode() + b"\n")

    server = run_inside(namespace, listen)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield lambda: callers[-1] if callers else ""
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def test_two_guests_reach_each_other(cloud: RealCloud, alpha: Server, beta: Server) -> None:
    assert " 0% packet loss" in cloud.ssh(alpha, f"ping -c 2 -W 3 {address(beta)}")
    assert greets(cloud, alpha, address(beta))
    assert greets(cloud, beta, address(alpha))
    assert cloud.ssh(alpha, f"nslookup beta 2>&1 | grep -c {address(beta)}") != "0"


def test_the_outside_is_reached_through_the_router(cloud: RealCloud, alpha: Server, outside: str) -> None:
    router = cloud.api.get("/network/v2.0/routers", name="router1")["routers"][0]
    translated = router["external_gateway_info"]["external_fixed_ips"][0]["ip_address"]
    target = inside(outside, "ip", "-4", "-o", "address", "show", "out").split()[3].split("/")[0]
    with listening(outside, 8080) as caller:
        assert cloud.ssh(alpha, f"nc -w 5 {target} 8080 </dev/null") == translated
        assert caller() == translated
    assert " 0% packet loss" in cloud.ssh(alpha, f"ping -c 2 -W 3 {target}")


def test_the_default_group_keeps_strangers_out(
    cloud: RealCloud, alpha: Server, beta: Server, outside: str, elsewhere: str
) -> None:
    assert not reaches(outside, address(beta))
    assert not reaches(elsewhere, address(beta))
    (group,) = cloud.api.get("/network/v2.0/ports", device_id=beta["id"])["ports"][0]["security_groups"]
    rule = let_in(cloud, group, protocol="tcp", port_range_min=22, port_range_max=22, remote_ip_prefix=ELSEWHERE)
    seconds = within(5, lambda: reaches(elsewhere, address(beta), seconds=0.5), lambda: "the rule is not in force")
    assert seconds < 3
    assert not reaches(elsewhere, address(beta), 23)
    assert not reaches(outside, address(beta))
    cloud.api.delete(f"/network/v2.0/security-group-rules/{rule}")
    within(5, lambda: not reaches(elsewhere, address(beta), seconds=1), lambda: "the rule is still in force")


def test_a_group_without_rules_is_closed_to_neighbours(
    cloud: RealCloud, alpha: Server, beta: Server, closed: str
) -> None:
    within(5, lambda: not greets(cloud, alpha, address(beta)), lambda: "the group does not close")
    assert "100% packet loss" in cloud.ssh_directly(alpha, f"ping -c 2 -W 2 {address(beta)}", check=False)
    let_in(cloud, closed, protocol="tcp", port_range_min=22, port_range_max=22)
    within(5, lambda: greets(cloud, alpha, address(beta)), lambda: "the rule is not in force")
    assert "100% packet loss" in cloud.ssh_directly(alpha, f"ping -c 2 -W 2 {address(beta)}", check=False)


def test_the_operators_way_in_is_no_way_for_guests(cloud: RealCloud, alpha: Server, beta: Server, closed: str) -> None:
    namespace = cloud.namespace("private")
    within(5, lambda: not greets(cloud, alpha, address(beta)), lambda: "the group does not close")
    assert cloud.ssh(beta, "hostname") == "beta"
    assert not reaches(namespace, address(beta), 23)
    router = cloud.api.get("/network/v2.0/routers", name="router1")["routers"][0]["id"]
    assert not reaches(cloud.naming.router_namespace(router), address(beta))
    assert inside(namespace, "cat", "/proc/sys/net/ipv4/ip_forward") == "0"
    dhcp = inside(namespace, "ip", "-4", "-o", "address", "show", "net0").split()[3].split("/")[0]
    cloud.ssh(alpha, f"ip route add {address(beta)}/32 via {dhcp}")
    assert not greets(cloud, alpha, address(beta))
    cloud.ssh(alpha, f"ip route delete {address(beta)}/32")


@pytest.fixture
def echo(cloud: RealCloud, beta: Server) -> Iterator[int]:
    """A port of beta that says back what it is told."""
    cloud.ssh(beta, "nc -ll -p 7007 -e cat </dev/null >/dev/null 2>&1 &")
    yield 7007
    cloud.ssh(beta, "killall nc")


def answers(connection: socket.socket, word: bytes) -> bool:
    with contextlib.suppress(OSError):
        connection.sendall(word)
        return connection.recv(64) == word
    return False


def test_a_rule_that_changes_spares_what_others_still_allow(
    cloud: RealCloud, beta: Server, elsewhere: str, echo: int
) -> None:
    (group,) = cloud.api.get("/network/v2.0/ports", device_id=beta["id"])["ports"][0]["security_groups"]
    narrow = let_in(cloud, group, protocol="tcp", port_range_min=echo, port_range_max=echo, remote_ip_prefix=ELSEWHERE)
    within(5, lambda: reaches(elsewhere, address(beta), echo, 0.5), lambda: "the rule is not in force")
    connection = run_inside(elsewhere, lambda: socket.create_connection((address(beta), echo), 2))
    with connection:
        assert answers(connection, b"by the narrow rule")
        wide = let_in(cloud, group, protocol="tcp", remote_ip_prefix=ELSEWHERE)
        seconds = within(5, lambda: reaches(elsewhere, address(beta), seconds=0.5), lambda: "the rule is not in force")
        assert seconds < 2
        cloud.api.delete(f"/network/v2.0/security-group-rules/{narrow}")
        assert all(answers(connection, b"by the wide rule") for _ in range(10))
        cloud.api.delete(f"/network/v2.0/security-group-rules/{wide}")
        within(5, lambda: not reaches(elsewhere, address(beta), seconds=0.5), lambda: "the rule is still in force")
        assert not answers(connection, b"by no rule")


@pytest.fixture(scope="module")
def twin(cloud: RealCloud, alpha: Server) -> Iterator[Server]:
    """A guest with alpha's address, in a network of the same subnet that has no router at all."""
    network = cloud.api.post("/network/v2.0/networks", {"network": {"name": "isolated"}})["network"]["id"]
    private = cloud.api.get("/network/v2.0/subnets", name="private-subnet")["subnets"][0]
    subnet = {"network_id": network, "ip_version": 4, "cidr": private["cidr"], "gateway_ip": None}
    cloud.api.post("/network/v2.0/subnets", {"subnet": subnet})
    server = cloud.boot("twin", networks=[{"uuid": network, "fixed_ip": address(alpha)}])
    yield server
    cloud.delete(server)
    cloud.api.delete(f"/network/v2.0/networks/{network}")


def test_two_networks_of_one_subnet_and_metadata_without_a_router(
    cloud: RealCloud, alpha: Server, beta: Server, twin: Server
) -> None:
    assert address(twin) == address(alpha)
    (ready,) = cloud.boots(twin)
    assert (ready["source"], ready["keys"]) == (cloud.boots(alpha)[-1]["source"], "1"), "from the metadata service"
    assert (cloud.ssh(twin, "hostname"), cloud.ssh(alpha, "hostname")) == ("twin", "alpha")
    assert greets(cloud, alpha, address(beta))
    assert cloud.ssh(twin, f"nc -w 3 {address(beta)} 22 </dev/null | wc -c") == "0", "nobody has that address there"


@pytest.fixture
def floating(cloud: RealCloud, alpha: Server) -> Iterator[str]:
    """An address on the external network that is alpha's."""
    port = cloud.api.get("/network/v2.0/ports", device_id=alpha["id"])["ports"][0]
    wanted = {"floating_network_id": cloud.api.network_id("public"), "port_id": port["id"]}
    made = cloud.api.post("/network/v2.0/floatingips", {"floatingip": wanted})["floatingip"]
    (group,) = port["security_groups"]
    rule = let_in(cloud, group, protocol="tcp", port_range_min=22, port_range_max=22)
    yield made["floating_ip_address"]
    cloud.api.delete(f"/network/v2.0/security-group-rules/{rule}")
    cloud.api.delete(f"/network/v2.0/floatingips/{made['id']}")


def test_a_floating_address_both_ways(
    cloud: RealCloud, alpha: Server, beta: Server, outside: str, floating: str
) -> None:
    within(5, lambda: reaches(outside, floating, seconds=0.5), lambda: "the address is not there")
    with socket.create_connection((floating, 22), 5) as from_host:
        assert from_host.recv(64).startswith(GREETING.encode())
    assert greets(cloud, beta, floating)
    assert greets(cloud, alpha, floating), "its own"
    target = inside(outside, "ip", "-4", "-o", "address", "show", "out").split()[3].split("/")[0]
    with listening(outside, 8080) as caller:
        assert cloud.ssh(alpha, f"nc -w 5 {target} 8080 </dev/null") == floating
        assert caller() == floating
