"""What is tried again, how often, and after how long."""

import pytest

from ingrain.client.failures import Failure
from ingrain.client.retry import Retries, RetryPolicy
from ingrain.errors import (
    AnswerTimeoutError,
    EngineUnavailableError,
    ExportTimeoutError,
    IngrainError,
    InvalidRequestError,
    QueueFullError,
    ServerUnreachableError,
    SourceUnavailableError,
)


def failed(error: IngrainError, status: int | None = None, *, was_sent: bool = True) -> Failure:
    error.status = status
    return Failure(error, was_sent=was_sent)


def pauses(failure: Failure, policy: RetryPolicy, *, repeatable: bool = True, has_answered: bool = True) -> list[float]:
    """Return the pauses before the failure is given up."""
    retries, found = Retries(policy, repeatable=repeatable), []
    while True:
        try:
            found.append(retries.pause_after(failure, has_answered=has_answered))
        except type(failure.error):
            return found


def test_pauses_double_up_to_the_longest_and_vary():
    policy = RetryPolicy(most=7, first_pause_s=0.5, longest_pause_s=4)
    runs = [pauses(failed(QueueFullError("full"), 429), policy) for _ in range(20)]
    for run in runs:
        assert len(run) == 7
        for pause, most in zip(run, (0.5, 1, 2, 4, 4, 4, 4), strict=True):
            assert most / 2 <= pause <= most
    assert len({run[0] for run in runs}) > 10


def test_retry_after_comes_before_all_pauses():
    """No try is sooner than the server asked for."""
    found = pauses(failed(QueueFullError("full", retry_after_s=3), 429), RetryPolicy(most=5))
    assert min(found) > 3


def test_a_server_that_wants_to_be_left_alone_for_longer_than_we_have_is_given_up():
    assert pauses(failed(EngineUnavailableError("away", retry_after_s=60), 503), RetryPolicy(within_s=30)) == []


@pytest.mark.parametrize(("status", "tried"), [(429, True), (502, True), (503, True), (504, True), (500, False)])
def test_statuses_that_are_tried_again(status, tried):
    assert bool(pauses(failed(IngrainError("failed"), status), RetryPolicy(most=1))) is tried


def test_a_call_that_asks_for_retries_repeats_a_500():
    """As the published clients did."""
    retries = Retries(RetryPolicy(), repeatable=True, most=1)
    assert retries.pause_after(failed(IngrainError("failed"), 500), has_answered=True) > 0
    with pytest.raises(IngrainError):
        retries.pause_after(failed(IngrainError("failed"), 500), has_answered=True)


def test_what_would_fail_again_is_not_tried_again():
    policy = RetryPolicy()
    assert pauses(failed(InvalidRequestError("wrong"), 400), policy) == []
    assert pauses(failed(ExportTimeoutError("half an hour"), 504), policy) == []
    assert pauses(failed(SourceUnavailableError("no hub, tried by the server"), 503), policy) == []


def test_what_may_have_been_done_is_not_done_twice():
    policy, lost = RetryPolicy(most=4), ServerUnreachableError("lost")
    assert pauses(failed(lost), policy, repeatable=False) == []
    assert len(pauses(failed(lost, was_sent=False), policy, repeatable=False)) == 4
    assert len(pauses(failed(lost), policy)) == 4


@pytest.mark.parametrize(("status", "tried"), [(429, True), (502, False), (503, True), (504, False)])
def test_what_a_proxy_gave_up_is_not_done_twice(status, tried):
    """The server may have done it meanwhile; 429 and 503 say that it has not."""
    found = pauses(failed(IngrainError("failed"), status), RetryPolicy(most=1), repeatable=False)
    assert bool(found) is tried


def test_a_server_that_never_answered_is_given_up_soon():
    policy = RetryPolicy(most=20, unknown_server_most=2)
    refused = failed(ServerUnreachableError("nobody"), was_sent=False)
    assert len(pauses(refused, policy, has_answered=False)) == 2
    assert len(pauses(failed(QueueFullError("full"), 429), policy, has_answered=False)) == 20


def test_a_server_that_hangs_is_waited_for_twice():
    assert len(pauses(failed(AnswerTimeoutError("late")), RetryPolicy())) == 1
