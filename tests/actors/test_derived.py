"""Which host of a cluster answers a method of a port."""

from actors.cluster.between_hosts import ClusterCoordinators
from actors.cluster.console import ClusterConsole, FilesConsole
from actors.cluster.control import ClusterControl, FilesControl
from actors.cluster.derived import Rule

_HERE = """
    account account_holdings accounts alert alert_kinds alerts_page api_keys authenticate create_account
    create_api_key create_service delete_account enable_account end_previous_token find_interaction find_interactions
    knows numbers_of outbox_page own_number own_numbers owned_number owned_numbers_page release_number revoke_api_key
    rotate_token service services_page update_account update_owned_number
"""
_OWNER = """
    add_participant add_to_pool create_session delete_interaction delete_service delete_session interaction
    interactions_page participant participants_page pool_entry pool_page remove_from_pool remove_participant reserve
    send_message session sessions_page update_participant update_service update_session
"""
_WRITTEN = "batch_sessions drop explain find_session replay"
_GATHERED = "alert alert_kinds alerts_page find_interaction find_interactions find_session outbox_page"
"""What is not here, where each host has files of its own."""


def named(rules: dict[str, Rule], rule: Rule) -> list[str]:
    """Return the methods of a rule, sorted."""
    return sorted(name for name, one in rules.items() if one is rule)


def test_every_method_of_the_control_plane_has_its_rule() -> None:
    """A new one is listed here, once it is clear which host has to answer it."""
    assert named(ClusterControl.rules, Rule.HERE) == _HERE.split()
    assert named(ClusterControl.rules, Rule.OWNER) == _OWNER.split()
    assert named(ClusterControl.rules, Rule.WRITTEN) == _WRITTEN.split()
    assert sorted(name for name in vars(FilesControl) if not name.startswith("_")) == _GATHERED.split()


def test_what_the_console_is_told_is_gathered_or_kept_here() -> None:
    """A login session has a keeper, whom the others ask."""
    here = "begin_login exchanges find_sessions offer_link outbox_kinds"
    assert named(ClusterConsole.rules, Rule.HERE) == here.split()
    assert named(ClusterConsole.rules, Rule.OWNER) == []
    assert sorted(name for name in vars(FilesConsole) if not name.startswith("_")) == [
        *("exchanges", "find_sessions", "outbox_kinds")
    ]


def test_coordinators_are_asked_where_their_service_is() -> None:
    """An ended call names its service itself."""
    assert named(ClusterCoordinators.rules, Rule.HERE) == []
    assert named(ClusterCoordinators.rules, Rule.OWNER) == [
        *("expire", "idle_since", "last_session", "make_session", "participants", "session")
    ]
    assert named(ClusterCoordinators.rules, Rule.WRITTEN) == ["call_ended"]
