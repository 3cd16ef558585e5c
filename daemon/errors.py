"""The exception hierarchy, and ``classify``, which decides whether an error is retried, skipped or fatal.

ForecastdError
|-- Retryable        temporary: a venue, broker or file cannot be reached now
|   `-- RateLimited  the venue requires a pause
|-- DataFault        one input is invalid: it is counted, sampled to the log and skipped
`-- Fatal            the operator must act: the message names the problem, its place and the cure
    |-- ConfigError        exit code 78
    |-- RegionRefused      the venue does not serve this region; exit code 69
    `-- Unreachable        a service that a command needs is not available; exit code 69
"""

from __future__ import annotations

from enum import Enum

EXIT_DONE = 0
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69
EXIT_INTERNAL = 70
EXIT_TRY_AGAIN = 75
EXIT_CONFIG = 78


class ForecastdError(Exception):
    """Base of every error that forecastd raises on purpose."""

    exit_code = EXIT_INTERNAL


class Retryable(ForecastdError):
    """A temporary failure: the same operation may succeed later."""

    exit_code = EXIT_TRY_AGAIN


class RateLimited(Retryable):
    """The venue limits the request rate; the next request may be sent after ``retry_after_s`` seconds."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DataFault(ForecastdError):
    """A single invalid input, such as a frame, row or answer; it is skipped."""


class Fatal(ForecastdError):
    """A failure that needs action by the operator."""


class ConfigError(Fatal):
    """The configuration is invalid; ``problems`` holds one line for each problem."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RegionRefused(Fatal):
    """The venue refuses requests from this region (HTTP 451 or 403)."""

    exit_code = EXIT_UNAVAILABLE


class Unreachable(Fatal):
    """A service that the command needs is not available."""

    exit_code = EXIT_UNAVAILABLE


class ErrorHandling(Enum):
    """How an edge handles an error: retry the operation, skip the input, or stop and raise it."""

    RETRY = "retry"
    SKIP = "skip"
    STOP = "stop"


def classify(error: BaseException) -> ErrorHandling:
    """How an edge handles ``error``; errors that are not listed here are defects and stop it."""
    import ssl  # noqa: PLC0415  # a sixth of the time of `forecastd --help`; only edges call this

    if isinstance(error, ssl.SSLCertVerificationError):
        return ErrorHandling.STOP
    # asyncio raises an EOFError for a stream that ends within a message.
    if isinstance(error, Retryable | TimeoutError | EOFError | OSError):
        return ErrorHandling.RETRY
    if isinstance(error, DataFault):
        return ErrorHandling.SKIP
    return ErrorHandling.STOP
