"""Logins to the console end in time, are few, and links begin one of them once."""

import pytest

from engine.core.model.logins import LoginLimits, LoginSession, LoginSessions

LIMITS = LoginLimits(idle_seconds=30.0, longest_seconds=100.0, most=3, most_of_owner=2, link_seconds=5.0, most_links=2)


def begun(logins: LoginSessions, token: str, *, owner: str | None = "AC1", at: float = 0.0) -> LoginSession:
    """Begin a login session."""
    login = LoginSession(token=token, csrf="c", account_sid=owner, credential=owner or "", begun_at=at)
    logins.begin(login)
    return login


def test_a_login_is_found_by_its_token_alone() -> None:
    """Until it is ended."""
    logins = LoginSessions(LIMITS)
    login = begun(logins, "one")

    assert logins.find("one", now=1.0, is_active=True) == login
    assert logins.find("two", now=1.0, is_active=True) is None
    logins.end("one")
    assert logins.find("one", now=1.0, is_active=True) is None


def test_a_login_ends_when_it_idles() -> None:
    """Looking on does not keep it alive."""
    logins = LoginSessions(LIMITS)
    begun(logins, "one")

    assert logins.find("one", now=29.0, is_active=True)
    assert logins.find("one", now=58.0, is_active=False)
    assert logins.find("one", now=59.0, is_active=True) is None
    assert len(logins) == 0


def test_a_login_ends_however_active_it_is() -> None:
    """At its longest."""
    logins = LoginSessions(LIMITS)
    begun(logins, "one")

    seen = [logins.find("one", now=float(at), is_active=True) is not None for at in range(10, 120, 10)]

    assert seen == [True] * 9 + [False] * 2


def test_an_owner_with_too_many_loses_the_one_idle_for_longest() -> None:
    """And nobody else does."""
    logins = LoginSessions(LIMITS)
    begun(logins, "other", owner=None)
    begun(logins, "one")
    begun(logins, "two")
    logins.find("one", now=1.0, is_active=True)

    begun(logins, "three", at=2.0)

    found = {token for token in ("other", "one", "two", "three") if logins.find(token, now=2.0, is_active=False)}
    assert found == {"other", "one", "three"}


def test_there_are_never_more_than_the_most() -> None:
    """Whoever they belong to."""
    logins = LoginSessions(LIMITS)

    for place in range(50):
        begun(logins, f"v{place}", owner=f"AC{place}")

    assert len(logins) == 3
    assert logins.find("v49", now=0.0, is_active=False)


@pytest.mark.parametrize(("after", "is_good"), [(0.0, True), (4.9, True), (5.0, False), (-1.0, False)])
def test_a_link_is_good_once_and_for_a_while(after: float, *, is_good: bool) -> None:
    """A code that was tried too late is used up as well."""
    logins = LoginSessions(LIMITS)
    logins.offer("code", now=10.0)

    assert logins.follow("code", now=10.0 + after) is is_good
    assert logins.follow("code", now=10.0) is False


def test_links_are_few() -> None:
    """The oldest makes room."""
    logins = LoginSessions(LIMITS)

    for code in ("a", "b", "c"):
        logins.offer(code, now=0.0)

    assert [logins.follow(code, now=0.0) for code in ("a", "b", "c")] == [False, True, True]
