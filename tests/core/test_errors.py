"""The error catalogue: complete, well-formed, and carried by the exceptions."""

import pytest

from engine.core.model.errors import (
    CATALOGUE,
    ApiError,
    Code,
    Level,
    MasklineError,
    StoreUnavailable,
    invalid_parameter,
    not_found,
)

EVERY_CODE = pytest.mark.parametrize("code", list(Code))


def test_the_catalogue_holds_every_code_and_nothing_else() -> None:
    """No code can be raised that has no title, level and status."""
    assert set(CATALOGUE) == set(Code)


@EVERY_CODE
def test_an_entry_is_fit_to_be_shown(code: Code) -> None:
    """A title is a few words without a full stop; a status, where there is one, tells of a failure."""
    entry = CATALOGUE[code]

    assert entry.title.strip() == entry.title
    assert 0 < len(entry.title) <= 60
    assert not entry.title.endswith(".")
    assert entry.http_status is None or 400 <= entry.http_status <= 599


@EVERY_CODE
def test_every_code_answers_with_a_status_of_failure(code: Code) -> None:
    """Also a code that is meant for the debugger only: it never becomes a success."""
    assert ApiError(code, "why").http_status == (CATALOGUE[code].http_status or 400)


@pytest.mark.parametrize(
    ("code", "http_status"),
    [
        (Code.PERMISSION_DENIED, 401),
        (Code.METHOD_NOT_ALLOWED, 405),
        (Code.NOT_FOUND, 404),
        (Code.TOO_MANY_REQUESTS, 429),
        (Code.BAD_PAGE_TOKEN, 400),
        (Code.SESSION_NAME_TAKEN, 400),
        (Code.STORAGE_FAILED, 500),
        (Code.UNAVAILABLE, 503),
    ],
)
def test_a_code_has_the_status_that_clients_branch_on(code: Code, http_status: int) -> None:
    """The statuses that the official SDK and its users tell apart."""
    assert ApiError(code, "why").http_status == http_status


@pytest.mark.parametrize(
    ("code", "level"),
    [
        (Code.NO_VOICE_PROXY, Level.WARNING),
        (Code.NO_PROXY_FOR_COUNTRY, Level.ERROR),
        (Code.POOL_FULL, Level.ERROR),
        (Code.POOL_NEARLY_FULL, Level.WARNING),
        (Code.STOP_WORD, Level.WARNING),
        (Code.NO_ACTIVE_SESSION, Level.ERROR),
    ],
)
def test_a_debugger_event_has_the_level_of_its_code(code: Code, level: Level) -> None:
    """Operators filter on the level."""
    assert CATALOGUE[code].level is level


def test_an_api_error_carries_its_code_and_message() -> None:
    """The REST body is made from the exception alone."""
    error = ApiError(Code.SESSION_NAME_TAKEN, "UniqueName is taken in this Service")

    assert error.code == 80603
    assert error.message == "UniqueName is taken in this Service"
    assert str(error) == error.message


def test_whatever_the_engine_raises_on_purpose_is_one_family() -> None:
    """One `except MasklineError` tells our answers from our bugs."""
    assert issubclass(ApiError, MasklineError)
    assert issubclass(StoreUnavailable, MasklineError)
    assert not issubclass(StoreUnavailable, ApiError)


def test_a_path_that_names_nothing_is_answered_with_404() -> None:
    """The message repeats the path, as clients of the API expect."""
    error = not_found("/Services/KS1")

    assert (error.code, error.http_status) == (20404, 404)
    assert error.message == "The requested resource /Services/KS1 was not found"


def test_a_bad_parameter_is_named_as_on_the_wire() -> None:
    """The caller sees which parameter to change and why."""
    error = invalid_parameter("Ttl", "must be a whole number of seconds")

    assert (error.code, error.http_status) == (80701, 400)
    assert error.message == "Invalid parameter Ttl: must be a whole number of seconds"
