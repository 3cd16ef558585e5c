"""The tree of errors, and the one function that says which are worth another try.

ForecastdError
|-- Retryable        try again later: a venue, broker or file is unreachable for now
|   `-- RateLimited  the venue names how long to wait
|-- DataFault        one input is wrong: it is counted, sampled to the log and left out
`-- Fatal            a person must act: the message says what, where and the cure
    |-- ConfigError        exit code 78
    |-- RegionRefused      the venue refuses this region
    `-- Unreachable        a service that a command needs is not there; exit code 69
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
    """A failure that passes by itself."""

    exit_code = EXIT_TRY_AGAIN


class RateLimited(Retryable):
    """The venue asks for a pause of ``retry_after_s`` seconds."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DataFault(ForecastdError):
    """One piece of input that cannot be used."""


class Fatal(ForecastdError):
    """A failure that only a person can mend."""


class ConfigError(Fatal):
    """The configuration cannot be used; ``problems`` holds one line each."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RegionRefused(Fatal):
    """The venue refuses requests from this region (HTTP 451 or 403)."""

    exit_code = EXIT_UNAVAILABLE


class Unreachable(Fatal):
    """A service that the command needs is not there."""

    exit_code = EXIT_UNAVAILABLE


class ErrorHandling(Enum):
    """What an edge does about an error."""

    RETRY = "retry"
    SKIP = "skip"
    STOP = "stop"


def classify(error: BaseException) -> ErrorHandling:
    """Whether an edge should try again, skip the input, or stop and pass the error on."""
    import ssl  # noqa: PLC0415  # a sixth of what `forecastd --help` takes, and only edges judge

    if isinstance(error, ssl.SSLCertVerificationError):
        return ErrorHandling.STOP
    # A stream that ends in mid-message is an EOFError, asyncio's too.
    if isinstance(error, Retryable | TimeoutError | EOFError | OSError):
        return ErrorHandling.RETRY
    if isinstance(error, DataFault):
        return ErrorHandling.SKIP
    return ErrorHandling.STOP
