"""Retained topics over starts and stops: which were published, which to clear, what symbols are at a stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from daemon.config import Config
from daemon.pipeline.events import SymbolState, SymbolStateChanged
from daemon.pipeline.pipeline import Pipeline
from daemon.publishing.message_builder import MessageBuilder
from daemon.publishing.topics import Topics
from models.atomic_file import replace_file

log = structlog.get_logger(__name__)

FILE_NAME = "mqtt-topics"


def configured_topics(topics: Topics, config: Config) -> set[str]:
    """Every retained topic that a daemon with this configuration publishes on."""
    interval_us = config.bars.interval_us
    found = {topics.status, topics.model}
    for instrument in config.instruments:
        found |= {
            topics.bar(instrument, interval_us),
            topics.forecast(instrument, interval_us),
            topics.symbol_status(instrument),
        }
    return found


def topics_beside(forecast_topics: Iterable[str]) -> set[str]:
    """The retained topics of the instruments with these forecast topics, as a version without a record left them."""
    found = set()
    for topic in forecast_topics:
        *root, kind, venue, symbol, interval = topic.split("/")
        if kind == "forecast":
            tree = "/".join(root)
            found |= {topic, f"{tree}/bar/{venue}/{symbol}/{interval}", f"{tree}/symbol/{venue}/{symbol}/status"}
    return found


class RetainedTopics:
    """The topics of ``configured``, and those that earlier configurations of this state directory have left.

    They are kept in a file, one a line, because a broker keeps a retained message until it is cleared: without it an
    instrument that was removed from the configuration would stay ``live`` for ever. A topic leaves the file once the
    broker has confirmed that it is cleared.

    unrecorded: returns the topics published before there was a file; called where there is none.
    """

    def __init__(
        self, state_dir: Path, configured: Iterable[str], *, unrecorded: Callable[[], Iterable[str]] = tuple
    ) -> None:
        self._file = state_dir / FILE_NAME
        self._configured = set(configured)
        recorded = self._recorded()
        self.leftover = (set(unrecorded()) if recorded is None else recorded) - self._configured
        self._record()

    def __len__(self) -> int:
        return len(self._configured) + len(self.leftover)

    def cleared(self, topic: str) -> None:
        """The broker has confirmed an empty message on ``topic``."""
        self.leftover.discard(topic)
        if not self.leftover:
            self._record()
            log.info("mqtt_topics_cleared", reason="their instruments are no longer configured")

    def _recorded(self) -> set[str] | None:
        """The topics in the file; None where there is none."""
        try:
            lines = self._file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            log.warning("mqtt_topics_unreadable", file=str(self._file), reason=str(error))
            return set()
        return {line for line in lines if line and not set(line) & set("+#\0")}

    def _record(self) -> None:
        lines = "".join(f"{topic}\n" for topic in sorted(self._configured | self.leftover))
        try:
            replace_file(self._file, lines.encode())
        except OSError as error:
            # The next start clears what this file names; without it only leftovers of this run would stay.
            log.warning("mqtt_topics_not_saved", file=str(self._file), reason=str(error))


def announce_start(messages: MessageBuilder, pipeline: Pipeline, retained: RetainedTopics, now_us: int) -> None:
    """Clears the topics that are no longer configured, and publishes that every symbol warms up."""
    for topic in sorted(retained.leftover):
        messages.clear(topic)
    for instrument, each in pipeline.instruments.items():
        messages.symbol_status(
            SymbolStateChanged(instrument, each.state, now_us, each.last_trade_at_us, each.state_reason or "starting")
        )


def announce_stop(messages: MessageBuilder, pipeline: Pipeline, now_us: int, reason: str) -> None:
    """Publishes that no symbol is served any more: its retained state would else stay as it was."""
    why = f"forecastd stopped: {reason}" if reason else "forecastd stopped"
    for instrument, each in pipeline.instruments.items():
        messages.symbol_status(SymbolStateChanged(instrument, SymbolState.STALE, now_us, each.last_trade_at_us, why))
