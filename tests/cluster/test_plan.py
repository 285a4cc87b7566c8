"""What a cluster runs by: settings as bytes, ports chosen, each host's share."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from engine.channels.sockets import CannotListen, ListenAddress
from engine.cluster.plan import (
    as_node,
    beside,
    decode_plan,
    encode_plan,
    host_settings,
    node_data_dir,
    reached_at,
    settled,
)
from engine.outbound.settings import CarrierKind, CarrierSettings
from engine.settings import Runtime, Settings, Synchronous

SETTINGS = Settings(
    data_dir=Path("somewhere"),
    hosts=3,
    listen=ListenAddress("127.0.0.1", 0),
    feed_listen=ListenAddress("127.0.0.1", 0),
    operations_listen=ListenAddress("127.0.0.1", 0),
    synchronous=Synchronous.NORMAL,
    outgoing_allow=("10.0.0.0/8",),
    carriers=(CarrierSettings(name="paper", kind=CarrierKind.FILE, path="sent"),),
    carrier_routes={"*": "paper"},
)


def test_settings_come_out_as_they_went_in() -> None:
    """Paths, addresses, enums and tables too."""
    assert decode_plan(encode_plan(SETTINGS)) == SETTINGS


def test_open_ports_are_chosen_once_and_apart() -> None:
    """A row for each kind of port that every host has for itself, free and without overlap."""
    plan = settled(SETTINGS)

    assert plan.data_dir == Path.cwd() / "somewhere"
    assert plan.feed_listen is not None
    assert plan.operations_listen is not None
    own = {one.port + place for place in range(3) for one in (plan.feed_listen, plan.operations_listen)}
    assert len(own | {plan.listen.port}) == 3 + 3 + 1
    assert 0 not in own | {plan.listen.port}
    assert settled(plan) == plan


@pytest.mark.parametrize(
    ("ray", "listen"),
    [("", "127.0.0.1"), ("10.0.0.5:6379", "0.0.0.0"), ("[fd00::5]:6379", "::")],  # noqa: S104 - likewise
)
def test_hosts_that_keep_files_listen_for_each_other_where_their_ray_is(ray: str, listen: str) -> None:
    """On loopback unless they may be on several machines, or the operator says otherwise."""
    named = replace(SETTINGS, ray_address=ray, peers_listen=ListenAddress("127.0.0.2", 7000))

    assert as_node(replace(SETTINGS, ray_address=ray)).peers_listen == ListenAddress(listen, 0)
    assert as_node(named) == named


def test_hosts_that_keep_files_have_a_secret_that_is_their_clusters() -> None:
    """Another one each time; it is not shown."""
    one, other = settled(SETTINGS), settled(SETTINGS)

    assert len(one.peers_secret) == 64
    assert one.peers_secret != other.peers_secret
    assert one.peers_secret not in repr(one)


def test_a_port_in_use_is_told_before_anything_starts() -> None:
    """Also one in the middle of a row, by its number and the option that chose it."""
    first = settled(SETTINGS).operations_listen
    assert first is not None
    with socket.create_server(("127.0.0.1", first.port + 1)):
        wanted = replace(SETTINGS, operations_listen=first)

        with pytest.raises(CannotListen, match=f":{first.port + 1}: .*--operations-listen"):
            settled(wanted)


def test_each_host_has_a_directory_and_ports_of_its_own() -> None:
    """The HTTP port is shared."""
    plan = replace(
        SETTINGS,
        listen=ListenAddress("0.0.0.0", 8080),  # noqa: S104 - not bound
        feed_listen=ListenAddress("0.0.0.0", 9000),  # noqa: S104 - not bound
        operations_listen=None,
    )

    own = host_settings(plan, 2, Path("/data"))

    assert own.data_dir == Path("/data/host-2")
    assert own.listen == plan.listen
    assert own.feed_listen == ListenAddress("0.0.0.0", 9002)  # noqa: S104 - not bound
    assert own.operations_listen is None


@pytest.mark.parametrize(
    ("listen", "reached"),
    [("0.0.0.0", "10.0.0.7"), ("::", "10.0.0.7"), ("192.168.0.1", "192.168.0.1")],  # noqa: S104 - not bound
)
def test_others_are_told_an_address_that_they_can_reach(listen: str, reached: str) -> None:
    """All interfaces stand for the node's address."""
    assert reached_at(beside(ListenAddress(listen, 80), 1), "10.0.0.7") == ListenAddress(reached, 81)


def test_a_node_may_have_its_data_elsewhere() -> None:
    """Its own variable says so."""
    assert node_data_dir(SETTINGS, {}) == Path("somewhere")
    assert node_data_dir(SETTINGS, {"MASKLINE_NODE_DATA_DIR": "/mnt/fast"}) == Path("/mnt/fast")


def test_a_machine_of_a_cluster_on_a_database_knows_who_it_is() -> None:
    """Its address is the one that the database sees, unless the one where hosts listen for each other is named."""
    on_database = replace(SETTINGS, runtime=Runtime.RAY, database_url="host=127.0.0.1 dbname=maskline")
    named = replace(on_database, node_name="b", peers_listen=ListenAddress("127.0.0.2", 7000))

    plain, other = as_node(on_database), as_node(named)

    assert (plain.node_name, plain.node_address) == (socket.gethostname(), "127.0.0.1")
    assert plain.peers_listen == ListenAddress("127.0.0.1", 0)
    assert (other.node_name, other.node_address, other.peers_listen) == ("b", "127.0.0.2", named.peers_listen)
