"""Why a connection to the broker failed, or one message was not accepted, as errors. No I/O."""

from __future__ import annotations

from daemon.errors import ForecastdError, Retryable


class ConnectionFailed(Retryable):
    """Base of the reasons why there is no connection. ``label``: the reason as the value of a metric's label."""

    def __init__(self, message: str, *, label: str = "lost") -> None:
        super().__init__(message)
        self.label = label


class BrokerLost(ConnectionFailed):
    """The broker cannot be reached or stopped answering."""


class ConnectionClosed(BrokerLost):
    """The broker ended an accepted connection.

    code: its reason code, None without one (MQTT 3.1.1).
    unanswered: whether it had not answered the subscription to the status; some brokers close instead of refusing.
    """

    def __init__(self, message: str, *, code: int | None, label: str, unanswered: bool) -> None:
        super().__init__(message, label=label)
        self.code = code
        self.unanswered = unanswered


class SessionTakenOver(ConnectionClosed):
    """Another client connected with the same client id; each new attempt would take the session over in turn."""


class AccessRefused(ConnectionFailed):
    """Credentials were refused, or a certificate or file is unusable; the message names what an operator must do."""


class ProtocolRefused(ConnectionFailed):
    """The broker does not support this version of MQTT."""


class MessageRefused(ForecastdError):
    """The broker refused one message; the connection is unaffected."""


class MessageTooLarge(ForecastdError):
    """One message exceeds the broker's maximum packet size; it was not sent."""
