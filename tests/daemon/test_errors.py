"""Errors: what an edge does about each kind, and the exit code each command ends with."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from daemon.errors import (
    ConfigError,
    DataFault,
    ErrorHandling,
    Fatal,
    ForecastdError,
    RateLimited,
    RegionRefused,
    Retryable,
    Unreachable,
    classify,
)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (Retryable("later"), ErrorHandling.RETRY),
        (RateLimited("slow down", retry_after_s=3), ErrorHandling.RETRY),
        (ConnectionResetError(), ErrorHandling.RETRY),
        (TimeoutError(), ErrorHandling.RETRY),
        (asyncio.IncompleteReadError(b"", 4), ErrorHandling.RETRY),
        (OSError(28, "No space left on device"), ErrorHandling.RETRY),
        (ssl.SSLError("handshake failure"), ErrorHandling.RETRY),
        (ssl.SSLCertVerificationError("self-signed"), ErrorHandling.STOP),
        (DataFault("malformed"), ErrorHandling.SKIP),
        (RegionRefused("451"), ErrorHandling.STOP),
        (ConfigError(["wrong"]), ErrorHandling.STOP),
        (KeyError("a defect"), ErrorHandling.STOP),
    ],
)
def test_every_error_has_one_verdict(error: BaseException, verdict: ErrorHandling) -> None:
    """What passes by itself is tried again, bad input is skipped, the rest stops the edge."""
    assert classify(error) is verdict


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (ForecastdError("?"), 70),
        (Retryable("later"), 75),
        (Fatal("mend it"), 70),
        (ConfigError(["a", "b"]), 78),
        (Unreachable("nobody there"), 69),
        (RegionRefused("451"), 69),
    ],
)
def test_exit_codes_are_those_of_the_contract(error: ForecastdError, exit_code: int) -> None:
    """69 unreachable, 70 internal, 75 try again, 78 configuration."""
    assert error.exit_code == exit_code


def test_a_configuration_error_keeps_one_line_a_problem() -> None:
    """All problems are there at once, as a list and as text."""
    error = ConfigError(["first", "second"])
    assert error.problems == ["first", "second"]
    assert str(error).splitlines() == ["first", "second"]
