from daemon.publishing.retry_policy import PublishBackoff, RetryPolicy

RETRY_POLICY = RetryPolicy(first_retry_s=1, longest_retry_s=8, refused_retry_s=60)


def test_the_pause_doubles_up_to_the_longest() -> None:
    """Each pause is between half of the step and the full step."""
    backoff = PublishBackoff(RETRY_POLICY)
    for step_s in (1, 2, 4, 8, 8, 8):
        assert step_s / 2 <= backoff.failed(0.0, refused=False) <= step_s


def test_a_refusal_waits_long_at_once() -> None:
    """A refusal that an operator must fix pauses for refused_retry_s from the first failure."""
    assert 30 <= PublishBackoff(RETRY_POLICY).failed(0.0, refused=True) <= 60


def test_a_connection_that_lasted_resets_the_pause() -> None:
    """A short connection does not, because two clients with the same id would disconnect each other without end."""
    backoff = PublishBackoff(RETRY_POLICY)
    for _ in range(5):
        backoff.accepted(0.0)
        last_s = backoff.failed(1.0, refused=False)
    assert last_s >= 4
    backoff.accepted(10.0)
    assert backoff.failed(20.0, refused=False) <= 1


def test_the_pause_stays_bounded_after_thousands_of_failures() -> None:
    """A broker may be unreachable for months."""
    backoff = PublishBackoff(RETRY_POLICY)
    assert all(backoff.failed(0.0, refused=False) <= 8 for _ in range(5000))
