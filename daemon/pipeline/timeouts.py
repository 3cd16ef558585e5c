"""Timeouts of one instrument: how long bars wait for proof, requests for answers, and a silent stream for an alarm."""

from __future__ import annotations

import math

import msgspec

CATCH_UP_S = 30.0
_MAX_PROOF_WAIT_S = 30.0


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """``*_us`` are market time (already scaled), ``*_s`` wall time.

    grace_us: how long after its end a bar waits for late trades before the venue is asked for proof.
    proof_wait_us: how long after its end a bar waits for proof; then it closes with the completeness it has.
    round_wait_us: how long after the grace a round of forecasts waits for live instruments that have not closed yet.
    answer_timeout_s: a request without an answer by then has failed.
    stale_after_s: a stream that is silent for longer is checked by a probe (REST).
    halted_after_s: silence after which an instrument is halted, once a probe finds no new trade.
    catch_up_s: after a start no bar closes unproven for this long, unless the venue has answered before.
    undelivered_age_us: a trade that REST returns and the stream has not delivered counts as undelivered at this age.
    clock_margin_us: the largest difference expected between market time and the venue's clock.
    max_ahead_us: a trade further ahead of market time than this is malformed.
    """

    grace_us: int
    proof_wait_us: int
    round_wait_us: int = 1_000_000
    answer_timeout_s: float = 60.0
    stale_after_s: float = 30.0
    halted_after_s: float = 600.0
    catch_up_s: float = CATCH_UP_S
    undelivered_age_us: int = 5_000_000
    clock_margin_us: int = 1_000_000
    max_ahead_us: int = 60_000_000


def timeouts_for_bars(
    interval_us: int, *, grace_s: float = math.inf, speed: float = 1.0, catch_up_s: float = CATCH_UP_S
) -> Timeouts:
    """The waits of a bar close, converted from wall seconds to market time at ``speed`` market seconds a wall second.

    The wait for proof is a tenth of the bar's wall length, 30 s at most. The grace is ``grace_s``, at most half of
    that wait, so that the other half is left for the venue's answer.
    """
    scale = speed * 1e6
    proof_wait_s = min(_MAX_PROOF_WAIT_S, interval_us / scale / 10)
    return Timeouts(
        grace_us=int(min(grace_s, proof_wait_s / 2) * scale),
        proof_wait_us=int(proof_wait_s * scale),
        round_wait_us=int(scale),  # time for the answer of the venue, which is asked after the grace
        catch_up_s=catch_up_s,
        undelivered_age_us=int(5 * scale),
        clock_margin_us=int(scale),
        max_ahead_us=int(60 * scale),
    )
