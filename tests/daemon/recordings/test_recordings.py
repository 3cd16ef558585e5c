"""Captures: line formats, every venue's frames, lost connections, and refusals in one line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from structlog.testing import capture_logs

from daemon.exchanges import VENUE_NAMES
from daemon.recordings import RecordedTrades, Recording, RecordingRefused, StreamLost, StreamRestored, read
from features.market import Trade
from tests.daemon.recordings import captures
from tests.daemon.recordings.captures import START_S, capture, connected, received

START_US = START_S * 1_000_000

FRAMES: dict[str, Callable[[int, float], str]] = {
    "binance": captures.binance,
    "coinbase": captures.coinbase,
    "kraken": lambda trade_id, at_s: captures.kraken(("BTC/USD", trade_id, at_s)),
    "bybit": captures.bybit,
    "bybit_linear": captures.bybit_linear,
    "okx": captures.okx,
    "bitstamp": captures.bitstamp,
}


def read_all(file: Path, venue_name: str = "binance", symbol: str | None = None) -> Recording:
    return read(file, venue_name=venue_name, symbol=symbol)


def times_s(recording: Recording) -> list[float]:
    return [each.trades[0].time_us / 1e6 - START_S for each in recording if isinstance(each, RecordedTrades)]


# Formats


def test_a_capture_is_read_frame_by_frame(tmp_path: Path) -> None:
    """The venue's decoder reads the lines; sent and malformed frames are left out."""
    recording = read_all(
        capture(
            tmp_path,
            connected(START_S - 2),
            json.dumps({"ts": START_S - 1, "dir": "send", "data": "{}"}),
            received(START_S + 0.25, captures.binance(1, START_S)),
            received(START_S + 0.5, captures.binance(2, START_S + 0.01, price="NaN")),
            received(START_S + 0.75, captures.binance(2, START_S + 0.01)),
        )
    )
    since_us = START_US - 2_000_000
    expected = [
        RecordedTrades("BTC-USDT", [Trade(1, START_US, 100.5, 0.5, False, 2)], START_US + 250_000, since_us),
        RecordedTrades("BTC-USDT", [Trade(2, START_US + 10_000, 100.5, 0.5, False, 2)], START_US + 750_000, since_us),
    ]
    assert recording.symbols == ("BTC-USDT",)
    assert list(recording) == expected
    assert list(recording) == expected, "each iteration begins anew"


@pytest.mark.parametrize("name", VENUE_NAMES)
def test_every_format_of_line_reads_alike(name: str, tmp_path: Path) -> None:
    """JSON lines, JSON lines with the frame as an object, lines with nanoseconds, bare frames; plain or gzipped."""
    frames = [(FRAMES[name](number, START_S + number), START_S + number + 0.5) for number in (1, 2)]
    forms = {
        "text.jsonl": [received(at_s, frame) for frame, at_s in frames],
        "object.jsonl": [json.dumps({"ts": at_s, "dir": "recv", "data": json.loads(frame)}) for frame, at_s in frames],
        "undirected.jsonl": [json.dumps({"ts": at_s, "data": frame}) for frame, at_s in frames],
        "nanoseconds": [f"{round(at_s * 1e9)} {frame}" for frame, at_s in frames],
    }
    (tmp_path / "bare").write_text("\n".join(frame for frame, _ in frames))
    bare = list(read_all(tmp_path / "bare", name))
    assert [(each.received_us, each.since_us) for each in bare if isinstance(each, RecordedTrades)] == [
        (None, None)
    ] * 2
    for file, lines in forms.items():
        (tmp_path / file).write_text("\n".join(lines))
        (tmp_path / f"{file}.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
        recording = read_all(tmp_path / file, name)
        assert [each._replace(received_us=None, since_us=None) for each in recording] == bare  # type: ignore[call-arg]
        arrivals = [each.received_us for each in recording if isinstance(each, RecordedTrades)]
        assert arrivals == [START_US + 1_500_000, START_US + 2_500_000], file
        assert list(read_all(tmp_path / f"{file}.gz", name)) == list(recording)


def test_a_frame_with_several_symbols(tmp_path: Path) -> None:
    """Each symbol of a frame gets its own trades, and can be selected alone."""
    frame = captures.kraken(("BTC/USD", 7, START_S), ("ETH/USD", 3, START_S), ("BTC/USD", 8, START_S + 1))
    file = capture(tmp_path, received(START_S + 1, frame))
    recording = read_all(file, "kraken")
    assert recording.symbols == ("BTC-USD", "ETH-USD")
    assert [(each.symbol, len(each.trades)) for each in recording if isinstance(each, RecordedTrades)] == [
        ("BTC-USD", 2),
        ("ETH-USD", 1),
    ]
    assert [each.symbol for each in read_all(file, "kraken", "ETH-USD")] == ["ETH-USD"]


def test_a_text_keep_alive_is_a_frame(tmp_path: Path) -> None:
    """OKX's pong is no JSON; a bare capture may hold it."""
    file = capture(tmp_path, "pong", captures.okx(1, START_S))
    assert times_s(read_all(file, "okx")) == [0]


def test_what_is_no_time_is_none(tmp_path: Path) -> None:
    """A receipt time in other units does not move the recording to another century."""
    file = capture(tmp_path, received(START_S * 1000, captures.okx(1, START_S)))
    (only,) = read_all(file, "okx")
    assert isinstance(only, RecordedTrades)
    assert only.received_us is None


# Binance's two sequences


def test_raw_trades_are_read_where_there_are_no_others(tmp_path: Path) -> None:
    """A capture of the raw stream gives raw trades; with aggregate trades beside them, only those are read."""
    raw = [captures.binance_raw(number, START_S + number) for number in (11, 12)]
    others = ['{"lastUpdateId":5,"bids":[],"asks":[]}', '{"u":5,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}']
    with capture_logs() as logs:
        recording = list(read_all(capture(tmp_path, *raw, *others)))
    assert not logs, "books and book tickers are known kinds of frame"
    assert recording == [
        RecordedTrades("BTC-USDT", [Trade(number, START_US + number * 1_000_000, 100.5, 0.5, True)])
        for number in (11, 12)
    ]
    both = list(read_all(capture(tmp_path, raw[0], captures.binance(1, START_S), raw[1])))
    assert both == [RecordedTrades("BTC-USDT", [Trade(1, START_US, 100.5, 0.5, False, 2)])]


def test_a_malformed_raw_trade_is_found(tmp_path: Path) -> None:
    """A malformed raw trade is left out like any malformed frame, with and without the stream's envelope."""
    good, bad = captures.binance_raw(1, START_S), captures.binance_raw(2, START_S, price="-1")
    file = capture(tmp_path, good, bad, json.dumps(json.loads(bad)["data"]))
    with capture_logs() as logs:
        assert len(list(read_all(file))) == 1
    assert [(entry["event"], entry["line"]) for entry in logs] == [("frame_malformed", 2), ("frame_malformed", 3)]


# Connections


def of_symbol(symbol: str, recording: Recording) -> list[tuple[str, float]]:
    """A symbol's events, each with its time in seconds."""
    found: list[tuple[str, float]] = []
    for each in recording:
        if each.symbol == symbol:
            match each:
                case RecordedTrades():
                    found.append(("trade", each.trades[0].time_us / 1e6 - START_S))
                case StreamLost():
                    found.append(("lost", each.complete_until_us / 1e6 - START_S))
                case StreamRestored():
                    found.append(("restored", each.at_us / 1e6 - START_S))
    return found


def trade_line(number: int, at_s: float, pair: str = "btcusd", **more: object) -> str:
    return received(START_S + at_s, captures.bitstamp(number, START_S + at_s, pair=pair), **more)


def test_a_reopened_connection_is_an_interruption(tmp_path: Path) -> None:
    """It lasts from the last received line to the next acknowledgement or trade."""
    file = capture(
        tmp_path,
        connected(START_S),
        received(START_S + 1, captures.bitstamp_ack()),
        trade_line(1, 2),
        trade_line(2, 2, "ethusd"),
        received(START_S + 5, captures.bitstamp_ack("ltcusd")),
        connected(START_S + 10),
        received(START_S + 11, captures.bitstamp_ack()),
        trade_line(3, 14),
        trade_line(4, 15, "ethusd"),
        connected(START_S + 20, addr="wss://other.example"),
    )
    recording = read_all(file, "bitstamp")
    interruption = [("lost", 5), ("restored", 11), ("trade", 14), ("lost", 15)]
    assert of_symbol("BTC-USD", recording) == [("trade", 2), *interruption]
    assert of_symbol("ETH-USD", recording) == [
        ("trade", 2),
        ("lost", 5),
        ("restored", 15),
        ("trade", 15),
        ("lost", 15),
    ]
    assert recording.symbols == ("BTC-USD", "ETH-USD")


def test_an_acknowledgement_without_symbols_is_of_all(tmp_path: Path) -> None:
    """Bybit names no symbols; all symbols of its connection are restored."""
    ack = json.dumps({"success": True, "ret_msg": "subscribe", "conn_id": "1", "req_id": "1", "op": "subscribe"})
    lines = [received(START_S + at_s, captures.bybit(at_s, START_S + at_s)) for at_s in (2, 14)]
    file = capture(
        tmp_path, connected(START_S), lines[0], connected(START_S + 9), received(START_S + 10, ack), lines[1]
    )
    assert of_symbol("BTC-USDT", read_all(file, "bybit")) == [
        ("trade", 2),
        ("lost", 2),
        ("restored", 10),
        ("trade", 14),
    ]


def test_a_symbol_of_two_connections_is_delivered_by_either(tmp_path: Path) -> None:
    """While one connection is reopened the other delivers; only the symbols of the first are interrupted."""
    file = capture(
        tmp_path,
        connected(START_S, conn="a"),
        connected(START_S + 1, conn="b"),
        trade_line(1, 2, conn="a"),
        trade_line(1, 2, conn="b"),
        trade_line(2, 3, "ethusd", conn="a"),
        connected(START_S + 9, conn="a"),
        trade_line(3, 10, conn="b"),
        trade_line(4, 11, "ethusd", conn="a"),
        connected(START_S + 20, conn="b"),
        trade_line(5, 21, conn="b"),
    )
    recording = read_all(file, "bitstamp")
    assert of_symbol("ETH-USD", recording) == [("trade", 3), ("lost", 3), ("restored", 11), ("trade", 11)]
    assert of_symbol("BTC-USD", recording) == [
        *[("trade", 2)] * 2,
        ("trade", 10),
        ("lost", 10),
        ("restored", 21),
        ("trade", 21),
    ]
    since = [each.since_us for each in recording if isinstance(each, RecordedTrades)]
    assert since == [START_US + s * 1_000_000 for s in (0, 1, 0, 1, 9, 20)]


def test_an_interruption_without_receipt_times(tmp_path: Path) -> None:
    """Where lines have no receipt time, the trades' times are used."""
    trades = [json.dumps({"dir": "recv", "data": captures.bitstamp(at_s, START_S + at_s)}) for at_s in (2, 14)]
    ack = json.dumps({"dir": "recv", "data": captures.bitstamp_ack()})
    file = capture(tmp_path, trades[0], '{"dir":"connect"}', ack, trades[1])
    assert of_symbol("BTC-USD", read_all(file, "bitstamp")) == [
        ("trade", 2),
        ("lost", 2),
        ("restored", 14),
        ("trade", 14),
    ]


# Symbols


def test_a_symbol_is_taken_out_of_a_capture_of_several(tmp_path: Path) -> None:
    """The others are left out in silence: they are no mistake. One that is not there is found beside those that are."""
    frames = [
        captures.binance(1, START_S),
        captures.binance(7, START_S, symbol="ETHUSDT"),
        captures.binance(2, START_S),
    ]
    file = capture(tmp_path, *frames)
    with capture_logs() as logs:
        assert [each.symbol for each in read_all(file, symbol="ETH-USDT")] == ["ETH-USDT"]
    assert not logs
    with pytest.raises(RecordingRefused, match="holds no FOO-BAR; the symbols in it: BTC-USDT, ETH-USDT"):
        read_all(file, symbol="FOO-BAR")


def test_a_symbol_that_cannot_be_split_is_named_by_its_letters(tmp_path: Path) -> None:
    """A name that no list of quotes splits stays, unless --symbol shows the split."""
    file = capture(tmp_path, captures.binance(1, START_S, symbol="ABCXYZ"))
    assert read_all(file).symbols == ("ABCXYZ",)
    assert [each.symbol for each in read_all(file, symbol="ABC-XYZ")] == ["ABC-XYZ"]


# Refusals


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "holds no frames; record some"),
        (['{"ts":1.0,"dir":"connect"}'], "holds no frames"),
        ([captures.binance(1, START_S), '{"ts":17, "dir":'], r"line 2 is no line of a capture: .*; remove it"),
        (['{"a":' * 100_000], "line 1 is no line of a capture"),
        ([captures.okx(1, START_S)], "holds trades of okx, not of binance; write --venue okx"),
        ([captures.bybit_linear(1, START_S)], "holds trades of bybit_linear, not of binance"),
        (['{"some":"thing"}'], r"holds no trades of binance; is --venue right\? line 1: binance frame"),
        (['{"e":"depthUpdate","s":"BTCUSDT"}'], "holds no trades of binance, only 1 frames of other kinds; record its"),
    ],
)
def test_a_refusal_says_what_is_wrong(lines: list[str], says: str, tmp_path: Path) -> None:
    """One line: the file, what is wrong, the cure."""
    with pytest.raises(RecordingRefused, match=says) as refused:
        read_all(capture(tmp_path, *lines))
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_many_malformed_frames_are_counted(tmp_path: Path) -> None:
    """The first are found with their lines, then their number."""
    bad = [captures.binance(number, START_S, price="0") for number in range(2, 10)]
    with capture_logs() as logs:
        assert len(list(read_all(capture(tmp_path, captures.binance(1, START_S), *bad)))) == 1
    assert [entry["line"] for entry in logs if entry["event"] == "frame_malformed"] == [2, 3, 4, 5, 6]
    assert [entry["frames"] for entry in logs if entry["event"] == "frames_malformed"] == [8]


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    """A gzip file that is truncated or changed in the middle is refused."""
    whole = gzip.compress("\n".join(captures.binance(number, START_S) for number in range(2000)).encode())
    for damaged in (whole[:-100], whole[:200] + b"\xff" * 200 + whole[400:]):
        (tmp_path / "capture.gz").write_bytes(damaged)
        with pytest.raises(RecordingRefused, match="cannot be read as a capture"):
            read_all(tmp_path / "capture.gz")


# Tables


def table(trade_ids: list[object]) -> pl.DataFrame:
    times = [START_US + number for number in range(len(trade_ids))]
    return pl.DataFrame({"trade_id": trade_ids, "ts": times}).with_columns(
        price=pl.lit(1.0), size=pl.lit(1.0), side=pl.lit("buy"), symbol=pl.lit("BTCUSDT")
    )


def test_trade_ids_that_are_texts(tmp_path: Path) -> None:
    """Numbers in texts are numbers. UUIDs tell trades apart where ids prove nothing, and are refused elsewhere."""
    file = tmp_path / "trades.parquet"
    table(["7", "8"]).write_parquet(file)
    assert [each.trades[0].trade_id for each in read_all(file) if isinstance(each, RecordedTrades)] == [7, 8]
    table(["a9188a0a", "b0188a0b", "a9188a0a"]).write_parquet(file)
    ids = [each.trades[0].trade_id for each in read_all(file, "bybit_linear") if isinstance(each, RecordedTrades)]
    assert ids[0] == ids[2] != ids[1]
    assert all(0 <= each < 2**63 for each in ids)
    with pytest.raises(RecordingRefused, match="row 1, column trade_id: was 'a9188a0a'; the venue's ids"):
        read_all(file)


def test_a_table_without_a_symbol_needs_one(tmp_path: Path) -> None:
    """The symbol comes from a column or from --symbol, as BASE-QUOTE."""
    file = tmp_path / "trades.csv"
    table([1]).drop("symbol").write_csv(file)
    assert read_all(file, symbol="BTC-USDT").symbols == ("BTC-USDT",)
    for symbol in (None, "bitcoin"):
        with pytest.raises(RecordingRefused, match="name the symbol with --symbol BASE-QUOTE"):
            read_all(file, symbol=symbol)
