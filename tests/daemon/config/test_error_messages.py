"""Error messages: one line for each fault, with source, key, fault and cure."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.daemon.config.loading import Write, problem, problems
from tests.properties import examples

BAD_LINES = {
    'model.kind = "oracle"': 'model.kind: was "oracle"; write "lstm", "attention_lstm", "transformer", "tft", "har", '
    '"ewma" or "random_walk"',
    "features.window = 4": "features.window: was 4; it must be greater than or equal to 8",
    "bars.grace_s = -1": "bars.grace_s: was -1; it must be greater than or equal to 0",
    'bars.interval = "7m"': "bars.interval: interval was '7m'; it must divide a day, e.g. 5s, 1m, 15m, 1h, 4h, 1d",
    'instance.shard = "3/3"': 'instance.shard: was "3/3"; write this instance\'s number from 0 and their total',
    'instance.name = "a/b"': 'instance.name: was "a/b"; write letters, digits, dot, dash and underscore',
    'retrain.history = "soon"': 'retrain.history: was "soon"; write a whole number and s, m, h, d, w or y, e.g. "24h"',
    'http.listen = "9464"': 'http.listen: was "9464"; write host:port, e.g. "127.0.0.1:9464" or "[::1]:9464"',
    "store.max_disk_mb = true": "store.max_disk_mb: was True; it must be a valid integer",
    'log.level = "loud"': 'log.level: was "loud"; write "debug", "info", "warning" or "error"',
    'mqtt.base_topic = "a/#"': 'mqtt.base_topic: was "a/#"; write topic levels with single slashes between them',
    'device = "cpu"': "device: unknown key; known here: bars, features, feeds, http, instance, log",
}


@examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.sets(st.sampled_from(sorted(BAD_LINES)), min_size=1))
def test_all_errors_are_reported_at_once(chosen: set[str], write: Write) -> None:
    """Each wrong key has exactly one line with source, key, fault and cure; other keys have none."""
    path = write("\n".join(sorted(chosen)))
    found = sorted(problems(path))
    expected = sorted(f"{path}: {BAD_LINES[line]}" for line in chosen)
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[mqtt]\nurll = "x"', "mqtt.urll: unknown key; did you mean url?"),
        ("[mqttt]", "mqttt: unknown key; did you mean mqtt?"),
        ('[bars]\nlevel = "info"', "bars.level: unknown key; did you mean log.level?"),
        ("[bars]\naudits = true", "bars.audits: unknown key; did you mean audit?"),
        ("mqtt = 5", "mqtt: must be a table; write [mqtt] and its keys below"),
        ('[feeds]\nvenue = "binance"', "feeds: must be an array of tables; write [[feeds]]"),
        ("feeds = []", "feeds: was empty; write at least one [[feeds]] with venue and symbols"),
        ('[[feeds]]\nvenue = "binance"', "feeds[0].symbols: is missing; add it"),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = []',
            'feeds[0].symbols: was empty; write at least one symbol, e.g. ["BTC-USDT"]',
        ),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT", "ETHUSDT"]',
            'feeds[0].symbols[1]: was "ETHUSDT"; write "ETH-USDT"',
        ),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["strange"]',
            'feeds[0].symbols[0]: was "strange"; write BASE-QUOTE in upper case, e.g. "BTC-USDT"',
        ),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT", "BTC-USDT"]',
            "feeds[0].symbols: names BTC-USDT twice; remove one",
        ),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT"]\n' * 2,
            "feeds: name binance:BTC-USDT twice; remove one",
        ),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT"]\nws_url = "http://x"',
            'feeds[0].ws_url: was "http://x"; write an address such as "wss://stream.example.com:9443"',
        ),
        ('[retrain]\nevery = "59s"', 'retrain.every: was "59s"; write "1m" or more, or "off"'),
        (
            'instance.state_dir = "~no-such-user/x"',
            'instance.state_dir: was "~no-such-user/x", but there is no such user',
        ),
        ('mqtt.protocol = "3.1.1"', 'mqtt.protocol: was "3.1.1"; write "auto", 5 for MQTT 5, or 311 for MQTT 3.1.1'),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT"]\nws_url = "ws://127.0.0.1:9443"',
            "feeds[0].rest_url: is not on this machine although ws_url is; point both to the simulator",
        ),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT"]\nrest_url = "http://[::1]:9444"',
            "feeds[0].ws_url: is not on this machine although rest_url is; point both to the simulator",
        ),
        (
            '[retrain]\nevery = "24h"\nat = "03:10"',
            "retrain.at: is set together with retrain.every; keep one of the two",
        ),
        ('[retrain]\nat = "3:10"', 'retrain.at: was "3:10"; write a UTC time as HH:MM, e.g. "03:10"'),
        ("[model]\nhorizons = [3, 2]", "model.horizons: was [3, 2]; write whole numbers of bars from 1 up, ascending"),
        ("[model]\nhorizons = [0, 2]", "model.horizons: was [0, 2]; write whole numbers of bars from 1 up, ascending"),
        ("[model]\nquantiles = [0.5, 1.0]", "model.quantiles: was [0.5, 1.0]; write levels between 0 and 1, ascending"),
        (
            "[model]\nquantiles = [0.1, 0.5, 0.9]",
            "model.quantiles: lacks 0.025, 0.975, which skill and coverage are measured by; add it",
        ),
        ("[mqtt]\nprotocol = 5", 'mqtt.protocol: was 5, but the embedded broker speaks 3.1.1 only; write "auto"'),
        (
            '[mqtt]\nusername = "ann"',
            "mqtt.username: has no effect on the embedded broker; set mqtt.url or remove it",
        ),
        ('[mqtt]\nurl = "tcp://x"', 'mqtt.url: was "tcp://x"; write an address such as "mqtt://host:1883"'),
        ('[mqtt]\nurl = "mqtt://x/topic"', 'mqtt.url: was "mqtt://x/topic"; an MQTT address is a host and a port'),
        (
            f'[mqtt]\nurl = "mqtt://x"\nca_file = "{__file__}"',
            "mqtt.ca_file: has no effect without TLS; write mqtts:// in mqtt.url",
        ),
        (
            f'[mqtt]\nurl = "mqtts://x"\ncert_file = "{__file__}"',
            "mqtt.cert_file: belongs to a pair; set both mqtt.cert_file and mqtt.key_file",
        ),
        (
            f'[mqtt]\nurl = "mqtt://x"\npassword_file = "{__file__}"',
            "mqtt.password_file: has no effect without a user; set mqtt.username",
        ),
        (
            '[mqtt]\nurl = "mqtt://x"\nusername = "a"\npassword_file = "/no/such/file"',
            'mqtt.password_file: was "/no/such/file", which is not a file; create it or correct the path',
        ),
        (
            '[http]\ntoken_file = "${CREDENTIALS_DIRECTORY}/t"',
            'http.token_file: was "${CREDENTIALS_DIRECTORY}/t", but CREDENTIALS_DIRECTORY is not set; start under',
        ),
        (
            '[http]\nlisten = "0.0.0.0:9464"',
            "http.token_file: is needed because 0.0.0.0:9464 is not loopback; name a file with a token",
        ),
        (
            '[store]\nkeep_bars = "1y"',
            'store.keep_bars: was "1y", less than retrain.history "3y"; raise it or lower the history',
        ),
    ],
)
def test_errors_name_the_key_and_the_cure(text: str, expected: str, write: Write) -> None:
    """One fault gives one line: file, key, fault and cure."""
    assert problem(text, write).startswith(expected)
