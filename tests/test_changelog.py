"""Every row of the published changelog, of the table of inbound traffic and of the checklist: the tests that prove it.

The rows are those of docs/behaviour.md: behaviour 22, 9 and 21. A test is named by its file and function.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

Proofs = tuple[str, ...]

CHANGELOG: dict[int, tuple[str, Proofs]] = {
    1: (
        "closed to new customers (not here: whoever has an account makes services)",
        ("e2e/test_sdk.py::test_the_sdk_creates_reads_updates_lists_and_deletes_services",),
    ),
    2: (
        "no Mexican 1 for services of 2020-10-05 and later",
        (
            "e2e/test_country_digits.py::test_the_mexican_one_is_dialled_by_services_of_old_only",
            "e2e/test_country_digits.py::test_an_operator_switches_a_service_over",
            "actors/test_traffic.py::test_a_service_of_before_october_2020_dials_mexico_the_old_way",
        ),
    ),
    3: (
        "Argentina on request",
        (
            "e2e/test_country_digits.py::test_the_argentine_nine_is_dialled_on_request_and_in_calls_only",
            "core/test_e164.py::test_mexican_and_argentine_digits_are_inserted_only_when_asked",
        ),
    ),
    4: (
        "ProxyRespectSmsStopFilterFlag",
        (
            "e2e/test_gate.py::test_where_the_numbers_filter_is_respected_the_gate_judges_stop_words",
            "actors/test_traffic.py::test_stop_words_follow_the_account_and_the_number",
        ),
    ),
    5: (
        "some debugger events are warnings, with better bodies",
        (
            "core/test_errors.py::test_a_debugger_event_has_the_level_of_its_code",
            "e2e/test_debugger.py::test_the_official_sdk_lists_and_fetches_events",
            "e2e/test_debugger.py::test_events_are_posted_to_the_accounts_debugger",
        ),
    ),
    6: ("POST and DELETE are rate limited", ("e2e/test_operations.py::test_writes_are_limited_as_reads_are",)),
    7: (
        "opt-out words are blocked in any case, with an event",
        (
            "e2e/test_traffic.py::test_stop_words_do_not_pass",
            "e2e/test_gate.py::test_a_stop_word_is_told_to_nobody",
            "core/test_keywords.py::test_a_published_word_is_dropped_in_any_case",
        ),
    ),
    8: (
        "START, YES, DEBUT are forwarded in any case",
        ("e2e/test_gate.py::test_an_opt_in_word_passes_the_gate_and_is_told",),
    ),
    9: (
        "conflicting requests are rejected; a flag of the account and a parameter of the request",
        (
            "core/test_allocation.py::test_a_pair_in_use_is_refused_in_strict_mode",
            "e2e/test_life_cycle.py::test_a_permissive_account_may_activate_a_pair_twice",
        ),
    ),
    10: (
        "409/80623 on creation (not needed here: creations for one person are put in order)",
        (
            "e2e/test_selection.py::test_a_hundred_creates_for_one_person_over_ten_numbers",
            "core/test_errors.py::test_a_code_has_the_status_that_clients_branch_on",
        ),
    ),
    11: (
        "400/80604 on re-opening",
        ("e2e/test_life_cycle.py::test_a_session_whose_pair_was_reused_is_not_reopened",),
    ),
    12: ("80911 and 80910", ("e2e/test_gate.py::test_a_mode_decides_which_hooks_hear_of_an_event",)),
    13: ("callbacks carry MediaUrls", ("e2e/test_told.py::test_pictures_are_told_to_gate_and_callback",)),
    14: ("intercept callbacks carry MediaUrls", ("e2e/test_told.py::test_pictures_are_told_to_gate_and_callback",)),
    15: (
        "FailOnParticipantConflict on all three requests",
        (
            "e2e/test_life_cycle.py::test_a_permissive_account_may_activate_a_pair_twice",
            "e2e/test_sdk.py::test_an_old_sdk_may_send_what_newer_ones_dropped",
            "actors/test_traffic.py::test_fail_on_conflict_is_strict_in_a_permissive_account",
        ),
    ),
    16: (
        "without it 80801 and 80802, and the request is allowed",
        (
            "e2e/test_life_cycle.py::test_a_permissive_account_may_activate_a_pair_twice",
            "actors/test_traffic.py::test_a_permissive_reopening_is_met_first",
        ),
    ),
    17: (
        "the faster creation path (the only one here)",
        ("actors/test_at_once.py::test_a_hundred_creations_for_one_person_over_ten_numbers",),
    ),
    18: (
        "a deleted service's name is free at once",
        ("e2e/test_life_cycle.py::test_a_deleted_service_is_gone_and_its_name_and_numbers_free",),
    ),
    19: (
        "a deleted session's name is free at once",
        ("e2e/test_life_cycle.py::test_a_deleted_session_is_gone_and_its_name_free",),
    ),
    20: (
        "matching was by capitals for a while (superseded by 7)",
        ("core/test_keywords.py::test_a_published_word_is_dropped_in_any_case",),
    ),
    21: (
        "STOP and START lists were not forwarded for a while (superseded by 7 and 8)",
        ("core/test_keywords.py::test_no_other_word_is_dropped",),
    ),
    22: (
        "sessions closed for 90 days are deleted",
        (
            "e2e/test_life_cycle.py::test_a_session_closed_for_ninety_days_is_erased",
            "actors/test_retention.py::test_reopening_on_day_89_restarts_the_count",
        ),
    ),
    23: (
        "GET is limited to 30 a second",
        (
            "api/test_conventions.py::test_151st_request_in_five_seconds_is_429",
            "e2e/test_operations.py::test_too_many_requests_to_one_service_do_not_slow_another",
        ),
    ),
    24: (
        "5,000 reserved and 500 unreserved numbers",
        (
            "core/test_pool.py::test_a_pool_warns_at_85_percent_and_ends_at_its_limit",
            "e2e/test_pools.py::test_a_pool_holds_500_unreserved_numbers",
        ),
    ),
    25: ("at most 100 records a page", ("e2e/test_sdk.py::test_the_sdk_pages_over_250_sessions",)),
    26: (
        "callback URLs cannot be our own",
        (
            "e2e/test_outside.py::test_a_hook_in_a_private_network_is_not_called",
            "api/test_forms.py::test_callback_on_our_own_host_is_refused",
        ),
    ),
    27: (
        "in_use counts active sessions",
        (
            "actors/test_sessions.py::test_in_use_counts_a_session_once_per_number",
            "e2e/test_pools.py::test_a_number_in_use_stays_until_its_sessions_end",
        ),
    ),
    28: ("auto-create JSON in any charset", ("e2e/test_outside.py::test_json_in_any_charset_makes_a_session",)),
    29: (
        "an event for out-of-session answers that are no 2xx",
        ("e2e/test_outside.py::test_an_answer_that_cannot_be_used_refuses",),
    ),
    30: (
        "callers of unknown country are let through",
        (
            "e2e/test_traffic.py::test_a_caller_of_unknown_country_is_answered_like_any_stranger",
            "e2e/test_traffic.py::test_a_participant_is_connected_whatever_country_the_platform_says",
        ),
    ),
    31: ("a past DateExpiry is refused on create", ("e2e/test_life_cycle.py::test_a_past_end_is_refused",)),
    32: (
        "DateExpiry is kept when sent with Status=in-progress",
        ("e2e/test_life_cycle.py::test_a_new_end_and_a_reopening_take_effect_together",),
    ),
}
"""Section 22."""

INBOUND: dict[str, Proofs] = {
    "live session": (
        "e2e/test_traffic.py::test_a_call_is_connected_showing_the_partners_own_proxy_number",
        "e2e/test_gate.py::test_any_2xx_lets_pass",
    ),
    "unknown sender, hook set": ("e2e/test_outside.py::test_the_form_is_what_the_platform_sent_and_the_service",),
    "unknown sender, no hook": ("core/test_routing.py::test_a_stranger_is_refused",),
    "session closed by API": ("e2e/test_outside.py::test_the_last_known_session_is_told",),
    "session expired": ("e2e/test_outside.py::test_the_last_known_session_is_told",),
    "session deleted": ("e2e/test_outside.py::test_the_last_known_session_is_told",),
    "one participant only, and it calls": ("e2e/test_gate.py::test_who_has_no_partner_is_told_to_nobody",),
    "one participant only, a stranger calls": (
        "e2e/test_auto_create.py::test_a_handler_may_do_it_all_over_rest_and_the_text_is_sent_once",
    ),
    "partner removed": ("e2e/test_traffic.py::test_a_removed_participant_neither_reaches_nor_is_reached",),
    "sender removed": ("e2e/test_outside.py::test_the_last_known_session_is_told",),
    "call to a message-only session": ("e2e/test_gate.py::test_a_mode_decides_which_hooks_hear_of_an_event",),
    "message to a voice-only session": ("e2e/test_gate.py::test_a_mode_decides_which_hooks_hear_of_an_event",),
    "stop word": ("e2e/test_gate.py::test_a_stop_word_is_told_to_nobody",),
    "help, info, START": ("e2e/test_gate.py::test_an_opt_in_word_passes_the_gate_and_is_told",),
    "intercept 403": ("e2e/test_gate.py::test_403_blocks_and_nothing_is_told",),
    "intercept other status, error, time-out": (
        "e2e/test_gate.py::test_a_gate_that_gives_no_answer_lets_pass",
        "e2e/test_gate.py::test_a_gate_that_cannot_be_asked_in_time_lets_pass",
    ),
    "out of session, TwiML": ("e2e/test_outside.py::test_twiml_is_passed_on",),
    "out of session, JSON": ("e2e/test_outside.py::test_json_in_any_charset_makes_a_session",),
    "out of session, no 2xx": ("e2e/test_outside.py::test_an_answer_that_cannot_be_used_refuses",),
    "out of session, neither": ("e2e/test_outside.py::test_an_answer_that_is_neither_leaves_it_to_the_application",),
    "country unknown": ("e2e/test_traffic.py::test_a_caller_of_unknown_country_is_answered_like_any_stranger",),
    "outbound leg refused": (
        "e2e/test_told.py::test_a_call_that_fails_is_told_with_its_end",
        "e2e/test_told.py::test_a_message_that_fails_is_told_with_its_end",
        "e2e/test_carriers.py::test_a_carrier_that_refuses_fails_the_leg",
    ),
    "completion of a finished interaction": (
        "e2e/test_told.py::test_a_call_is_told_from_its_first_ring_to_its_end",
        "actors/test_reports.py::test_another_end_of_a_finished_call_is_ignored",
    ),
    "call event without open interaction": ("actors/test_reports.py::test_a_report_of_an_unknown_call_is_ignored",),
}
"""Section 9, row by row."""

CHECKLIST: dict[int, Proofs] = {
    1: (
        "e2e/test_sdk.py::test_the_sdk_manages_sessions",
        "e2e/test_sdk.py::test_the_sdk_manages_participants",
        "e2e/test_sdk.py::test_the_sdk_reads_and_deletes_interactions",
        "e2e/test_sdk.py::test_the_sdk_pushes_message_interactions",
        "e2e/test_sdk.py::test_the_sdk_owns_numbers_and_keeps_their_sids_in_the_pool",
        "e2e/test_sdk.py::test_an_old_sdk_manages_short_codes",
    ),
    2: ("e2e/test_sdk.py::test_the_sdk_pages_over_250_sessions",),
    3: ("e2e/test_sdk.py::test_participants_come_repeated_or_as_one_array",),
    4: (
        "e2e/test_selection.py::test_the_worked_example_needs_two_numbers",
        "e2e/test_selection.py::test_one_number_cannot_hold_the_same_pair_twice",
    ),
    5: (
        "e2e/test_selection.py::test_prefer_sticky_gives_the_number_held_before",
        "e2e/test_selection.py::test_avoid_sticky_gives_another_number",
    ),
    6: (
        "e2e/test_selection.py::test_small_countries_under_plus_one_get_an_american_number",
        "e2e/test_selection.py::test_the_british_islands_share_their_numbers",
        "e2e/test_selection.py::test_a_japanese_number_needs_a_japanese_pool_or_an_explicit_choice",
    ),
    7: ("e2e/test_life_cycle.py::test_a_reopened_session_keeps_its_numbers",),
    8: ("e2e/test_life_cycle.py::test_a_session_whose_pair_was_reused_is_not_reopened",),
    9: ("e2e/test_selection.py::test_a_hundred_people_joining_a_hundred_sessions_at_once",),
    10: (
        "e2e/test_life_cycle.py::test_every_interaction_restarts_the_idle_clock",
        "e2e/test_outside.py::test_the_last_known_session_is_told",
    ),
    11: (
        "e2e/test_life_cycle.py::test_a_fixed_end_overrides_the_idle_limit",
        "e2e/test_life_cycle.py::test_a_past_end_is_refused",
    ),
    12: (
        "e2e/test_gate.py::test_403_blocks_and_nothing_is_told",
        "e2e/test_gate.py::test_a_gate_that_gives_no_answer_lets_pass",
        "e2e/test_gate.py::test_a_gate_that_cannot_be_asked_in_time_lets_pass",
    ),
    13: (
        "e2e/test_outside.py::test_twiml_is_passed_on",
        "e2e/test_outside.py::test_json_in_any_charset_makes_a_session",
        "e2e/test_outside.py::test_an_answer_that_is_neither_leaves_it_to_the_application",
        "e2e/test_outside.py::test_an_answer_that_cannot_be_used_refuses",
    ),
    14: (
        "e2e/test_traffic.py::test_stop_words_do_not_pass",
        "e2e/test_gate.py::test_an_opt_in_word_passes_the_gate_and_is_told",
    ),
    15: ("e2e/test_gate.py::test_a_mode_decides_which_hooks_hear_of_an_event",),
    16: ("e2e/test_pools.py::test_a_number_in_use_stays_until_its_sessions_end",),
    17: ("e2e/test_pools.py::test_a_pool_holds_500_unreserved_numbers",),
    18: (
        "e2e/test_life_cycle.py::test_a_deleted_service_is_gone_and_its_name_and_numbers_free",
        "e2e/test_life_cycle.py::test_a_deleted_session_is_gone_and_its_name_free",
    ),
    19: (
        "webhooks/test_callbacks.py::test_the_documented_signature_vector_comes_out",
        "e2e/test_told.py::test_the_official_validator_accepts_every_webhook",
    ),
    20: ("e2e/test_operations.py::test_too_many_requests_to_one_service_do_not_slow_another",),
    21: ("e2e/test_life_cycle.py::test_a_session_closed_for_ninety_days_is_erased",),
    22: ("e2e/test_traffic.py::test_a_caller_of_unknown_country_is_answered_like_any_stranger",),
    23: ("e2e/test_outside.py::test_a_hook_in_a_private_network_is_not_called",),
    24: ("e2e/test_sdk.py::test_an_old_sdk_may_send_what_newer_ones_dropped",),
}
"""Section 21, item by item."""


def every_proof() -> Iterator[tuple[str, str]]:
    """Return each row with each test that proves it."""
    for number, (_, proofs) in CHANGELOG.items():
        yield from ((f"changelog {number}", proof) for proof in proofs)
    for row, proofs in INBOUND.items():
        yield from ((row, proof) for proof in proofs)
    for number, proofs in CHECKLIST.items():
        yield from ((f"item {number}", proof) for proof in proofs)


@cache
def collected(file: str) -> frozenset[str]:
    """Return the tests that pytest collects from a file and does not skip."""
    functions = (
        node
        for node in ast.parse((TESTS / file).read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )
    return frozenset(
        node.name
        for node in functions
        if not any("skip" in mark or "xfail" in mark for mark in map(ast.unparse, node.decorator_list))
    )


def test_no_row_is_missing() -> None:
    """32 of the changelog, 24 of inbound traffic, 24 of the checklist; each has a proof."""
    assert list(CHANGELOG) == list(range(1, 33))
    assert list(CHECKLIST) == list(range(1, 25))
    assert len(INBOUND) == 24
    assert all(proofs for _, proofs in CHANGELOG.values())
    assert all((*INBOUND.values(), *CHECKLIST.values()))


@pytest.mark.parametrize(("row", "proof"), list(every_proof()))
def test_every_proof_is_a_test_that_runs(row: str, proof: str) -> None:
    """It stands where the table says and is not skipped."""
    file, _, name = proof.partition("::")

    assert Path(file).name.startswith("test_")
    assert name in collected(file), f"{row}: there is no test {proof}"
