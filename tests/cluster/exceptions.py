"""Tests of one server that cannot hold behind a router over several, and why."""

from __future__ import annotations

__all__ = ["EXCEPTIONS", "why"]

_ORDER = "the order of arrival is what one replica sees; calls at two of them have none in common"
_QUEUE = "`lane_queue_max` bounds the line at one replica"
_INSIDE = "looks into the one registry of a process; each replica has a part of the session"
_PACE = "a call waits for a slow reader at its own replica; at another one the log is read"
_METRICS = "asks `/metrics` or the log of one process, where each replica counts its own"
_COLD = (
    "begins with one cold process; each replica has a first time, which the harness has behind it"
)
_OWN = "`server_status` tells of a session what the replica that is asked has done of it"
_TURN = "a call asks the store for its turn: what is cancelled at once has not begun"

EXCEPTIONS = {
    "test_batches.py::test_a_cancellation_in_the_batch_itself_ends_what_stands_before_it": _TURN,
    "test_endpoint.py::test_calls_of_one_session_run_one_after_the_other_in_arrival_order": _ORDER,
    "test_endpoint.py::test_two_calls_with_the_same_id_at_once_each_get_their_own_answer": _ORDER,
    "test_streaming.py::test_a_call_that_waits_in_its_lane_is_cancelled_and_leaves_it": _INSIDE,
    "test_endpoint.py::test_a_full_lane_refuses_with_a_tool_result_that_says_so": _QUEUE,
    "test_asking.py::test_who_cannot_be_asked_is_not": _INSIDE,
    "test_asking.py::test_the_end_of_the_session_ends_the_question": _INSIDE,
    "test_asking.py::test_draining_ends_questions_and_lets_no_more_be_asked": _INSIDE,
    "test_batches.py::test_a_client_that_leaves_ends_all_of_its_batch": _INSIDE,
    "test_batches.py::test_what_comes_to_be_after_its_sessions_end_does_not_begin": _INSIDE,
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
    "test_resuming.py::test_all_sessions_together_keep_to_a_bound": _INSIDE,
    "test_resuming.py::test_the_stream_of_a_named_session_ends_rather_than_leaving": _INSIDE,
    "test_resuming.py::test_an_answer_that_outruns_its_slow_client_ends": _PACE,
    "test_plain_http.py::test_a_body_that_cannot_be_arguments_is_refused_in_words": _METRICS,
    "test_plain_http.py::test_calls_without_a_name_run_side_by_side": _METRICS,
    "test_plain_http.py::test_a_client_that_leaves_ends_its_read": _METRICS,
    "test_plain_http.py::test_calls_are_counted_logged_and_traced_like_any": _METRICS,
    "test_plain_http.py::test_a_full_lane_and_a_deadline_have_statuses_of_their_own": _METRICS,
    "test_resuming.py::test_what_is_being_written_is_not_sent_yet": _PACE,
    "test_client.py::test_a_caller_is_told_of_long_work": _COLD,
    "test_client.py::test_a_call_that_is_cancelled_in_its_stream_ends_at_the_server": _COLD,
    "test_progress.py::test_a_caller_is_told_while_markets_load": _COLD,
    "test_timeouts.py::test_a_chain_of_slow_answers_ends_as_the_tools_timeout": _COLD,
    "test_two_workflows.py::test_a_first_call_loads_the_market_table_once_for_all": _COLD,
    "test_server_status.py::test_a_session_is_told_of_its_own_calls_only": _OWN,
}
"""File and beginning of a test's name → why."""


def why(file: str, test: str) -> str | None:
    """Why a test is passed over, or None."""
    where = f"{file}::{test}"
    return next((each for name, each in EXCEPTIONS.items() if where.startswith(name)), None)
