"""Tests of one server that cannot hold behind a router over several, and why."""

from __future__ import annotations

__all__ = ["EXCEPTIONS", "why"]

_ORDER = "the order of arrival is what one replica sees; calls at two of them have none in common"
_QUEUE = "`lane_queue_max` bounds the line at one replica"
_INSIDE = "looks into the one registry of a process; each replica has a part of the session"
_PACE = "a call waits for a slow reader at its own replica; at another one the log is read"
_METRICS = "asks `/metrics` or the log of one process, where each replica counts its own"
_COLD = "counts what one cold process asks of the exchange; each replica has its own first time"
_OWN = "`server_status` tells of a session what the replica that is asked has done of it"

EXCEPTIONS = {
    "test_endpoint.py::test_calls_of_one_session_run_one_after_the_other_in_arrival_order": _ORDER,
    "test_endpoint.py::test_two_calls_with_the_same_id_at_once_each_get_their_own_answer": _ORDER,
    "test_streaming.py::test_a_call_that_waits_in_its_lane_is_cancelled_and_leaves_it": _INSIDE,
    "test_endpoint.py::test_a_full_lane_refuses_with_a_tool_result_that_says_so": _QUEUE,
    "test_asking.py::test_who_cannot_be_asked_is_not": _INSIDE,
    "test_asking.py::test_the_end_of_the_session_ends_the_question": _INSIDE,
    "test_asking.py::test_draining_ends_questions_and_lets_no_more_be_asked": _INSIDE,
    "test_batches.py::test_a_client_that_leaves_ends_all_of_its_batch": _INSIDE,
    "test_batches.py::test_each_request_of_a_batch_is_counted_until_it_is_answered": _INSIDE,
    "test_resuming.py::test_a_quick_answer_keeps_nothing": _INSIDE,
    "test_resuming.py::test_a_client_that_leaves_before_any_event_ends_its_call": _INSIDE,
    "test_resuming.py::test_streams_that_are_opened_and_left_leave_nothing": _INSIDE,
    "test_resuming.py::test_a_flood_keeps_to_its_bounds": _INSIDE,
    "test_resuming.py::test_a_flood_that_nobody_reads_is_bounded_too": _INSIDE,
    "test_resuming.py::test_many_streams_share_one_sessions_room": _INSIDE,
    "test_resuming.py::test_ending_the_session_ends_everything_on_its_streams": _INSIDE,
    "test_resuming.py::test_a_call_whose_client_does_not_come_back_is_given_up": _INSIDE,
    "test_resuming.py::test_what_is_kept_is_let_go_after_a_while": _INSIDE,
    "test_resuming.py::test_events_that_come_while_others_are_replayed_come_once": _PACE,
    "test_plain_http.py::test_a_body_that_cannot_be_arguments_is_refused_in_words": _METRICS,
    "test_plain_http.py::test_calls_without_a_name_run_side_by_side": _METRICS,
    "test_plain_http.py::test_a_client_that_leaves_ends_its_read": _METRICS,
    "test_plain_http.py::test_calls_are_counted_logged_and_traced_like_any": _METRICS,
    "test_plain_http.py::test_a_full_lane_and_a_deadline_have_statuses_of_their_own": _METRICS,
    "test_two_workflows.py::test_a_first_call_loads_the_market_table_once_for_all": _COLD,
    "test_server_status.py::test_a_session_is_told_of_its_own_calls_only": _OWN,
}
"""File and beginning of a test's name → why."""


def why(file: str, test: str) -> str | None:
    """Why a test is passed over, or None."""
    where = f"{file}::{test}"
    return next((each for name, each in EXCEPTIONS.items() if where.startswith(name)), None)
