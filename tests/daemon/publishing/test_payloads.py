import json
import math

import jsonschema
import numpy as np
import pytest

from daemon.errors import DataFault
from daemon.forecasting.records import IssuedForecast, Latency, Skill
from daemon.publishing import payloads
from daemon.publishing.schemas import schema
from tests.daemon.publishing import samples


def parsed(payload: bytes) -> dict[str, object]:
    document: dict[str, object] = json.loads(payload)
    return document


@pytest.mark.parametrize("payload", samples.every_payload(), ids=lambda payload: payload[:60].decode())
def test_every_message_is_valid_under_its_schema(payload: bytes) -> None:
    """Each message names its schema and is valid under it, with all optional fields and with none."""
    document = parsed(payload)
    document_schema = schema(str(document["schema"]))
    jsonschema.Draft202012Validator.check_schema(document_schema)
    jsonschema.Draft202012Validator(document_schema).validate(document)


@pytest.mark.parametrize("payload", samples.every_payload(), ids=lambda payload: payload[:60].decode())
def test_a_message_without_any_one_of_its_fields_is_invalid(payload: bytes) -> None:
    """Every field that is sent is required and described by the schema."""
    document = parsed(payload)
    document_schema = schema(str(document["schema"]))
    validator = jsonschema.Draft202012Validator(document_schema)
    for name in document:
        assert not validator.is_valid({key: value for key, value in document.items() if key != name}), name


def test_no_schema_describes_a_field_that_is_never_sent() -> None:
    """The properties of each schema are those of its message."""
    for payload in samples.every_payload():
        document = parsed(payload)
        described = schema(str(document["schema"]))["properties"].keys()
        assert described - document.keys() == set()


def test_an_unknown_schema_is_refused() -> None:
    """The error for an unknown schema name lists the known ones."""
    with pytest.raises(ValueError, match=r"forecastd\.bar\.v1"):
        schema("forecastd.tick.v1")


def test_a_forecast_has_the_documented_fields() -> None:
    """Field names, times and units of a forecast are those of the documented contract."""
    document = parsed(payloads.forecast(samples.issued_forecast()))
    first = document["horizons"][0]  # type: ignore[index]
    assert document["id"] == "binance:BTC-USDT:1h:2026-01-05T13:00:00Z"
    assert document["bar_close"] == "2026-01-05T13:00:00Z"
    assert document["issued_at"] == "2026-01-05T13:00:02.114Z"
    assert document["valid_until"] == "2026-01-05T14:00:05Z"
    assert document["model"] == {"id": "01JGW", "kind": "attention_lstm", "trained_until": "2026-01-05T00:00:00Z"}
    assert document["data_quality"] == {
        "completeness": "proven",
        "missing_trades": 0,
        "window_bars_missing": 0,
        "clock_skew_ms": -12,
        "missing_ranges": [],
    }
    assert document["latency_ms"] == {"bar_close_to_publish": 2114, "features": 3.142, "inference": 6.0}
    assert first["target_time"] == "2026-01-05T14:00:00Z"
    assert list(first["quantiles"]) == ["0.025", "0.1", "0.5", "0.9", "0.975"]
    assert first["price_quantiles"]["0.025"] == pytest.approx(93250.1 * math.exp(-0.0081), rel=1e-11)
    assert first["price_quantiles"]["0.5"] == 93250.1


def test_a_calibrated_forecast_contains_the_raw_quantiles() -> None:
    """Calibrated quantiles, and the model's own as raw_quantiles; null without calibration."""
    wide = samples.made_forecast()
    raw = samples.made_forecast(quantiles=wide.quantiles / 2)
    document = parsed(payloads.forecast(samples.issued_forecast(forecast=wide, raw=raw)))
    for row, horizon in enumerate(document["horizons"]):  # type: ignore[var-annotated, arg-type]
        assert list(horizon["raw_quantiles"]) == list(horizon["quantiles"])
        assert list(horizon["quantiles"].values()) == pytest.approx(list(wide.quantiles[row]), rel=1e-7)
        assert list(horizon["raw_quantiles"].values()) == pytest.approx(list(raw.quantiles[row]), rel=1e-7)
    plain = parsed(payloads.forecast(samples.issued_forecast()))
    assert plain["horizons"][0]["raw_quantiles"] is None  # type: ignore[index]


def test_the_model_id_is_read_from_a_stored_forecast() -> None:
    """A republished forecast takes its user property from the stored bytes."""
    assert payloads.model_id(payloads.forecast(samples.issued_forecast())) == "01JGW"
    with pytest.raises(DataFault, match="stored forecast"):
        payloads.model_id(b'{"model"')


def test_numbers_are_rounded_to_significant_digits() -> None:
    """Log returns have 8 significant digits and ratios 6."""
    document = parsed(payloads.forecast(samples.issued_forecast()))
    assert document["horizons"][0]["quantiles"]["0.9"] == 0.0041234568  # type: ignore[index]
    assert document["skill"]["pinball_vs_har"] == 0.981235  # type: ignore[index]


def test_rounding_never_makes_quantiles_cross() -> None:
    """Quantiles that differ only beyond the last digit become equal, not swapped."""
    close = np.array([[1.00000001e-3, 1.000000012e-3, 1.000000014e-3, 1.000000016e-3, 1.0000000161e-3]] * 2)
    document = parsed(payloads.forecast(samples.issued_forecast(forecast=samples.made_forecast(quantiles=close))))
    for horizon in document["horizons"]:  # type: ignore[attr-defined]
        for kind in ("quantiles", "price_quantiles"):
            values = list(horizon[kind].values())
            assert values == sorted(values)


def test_negative_zero_is_written_as_zero() -> None:
    """A median of -0.0 is published as 0.0."""
    quantiles = np.zeros((2, 5)) * -1.0
    payload = payloads.forecast(samples.issued_forecast(forecast=samples.made_forecast(quantiles=quantiles)))
    assert b"-0.0" not in payload


def test_the_same_record_gives_the_same_bytes() -> None:
    """A forecast published again after a restart is byte-identical."""
    assert payloads.forecast(samples.issued_forecast()) == payloads.forecast(samples.issued_forecast())


@pytest.mark.parametrize(
    "issued",
    [
        samples.issued_forecast(reference_price=math.nan),
        samples.issued_forecast(forecast=samples.made_forecast(prob_up=np.array([math.nan, 0.5]))),
        samples.issued_forecast(forecast=samples.made_forecast(attention=np.full(48, math.inf))),
        samples.issued_forecast(forecast=samples.made_forecast(quantiles=np.full((2, 5), 800.0))),
        samples.issued_forecast(skill=Skill(window="30d", scored=1, coverage_80=math.nan)),
        samples.issued_forecast(latency=Latency(bar_close_to_publish=1, features=math.inf, inference=0.0)),
    ],
)
def test_a_number_that_is_not_finite_is_refused(issued: IssuedForecast) -> None:
    """JSON would encode it as null, which means "unknown"."""
    with pytest.raises(DataFault):
        payloads.forecast(issued)


def test_a_bar_keeps_the_venues_numbers_unrounded() -> None:
    """Prices and volumes of a bar are exactly those of the record."""
    bar = samples.bar(volume=0.1 + 0.2)
    document = parsed(payloads.bar(bar))
    assert (document["volume"], document["close"]) == (bar.volume, bar.close)
    assert document["vwap"] == pytest.approx(bar.vwap, rel=1e-11)
    assert (document["open_time"], document["close_time"]) == ("2026-01-05T12:00:00Z", "2026-01-05T13:00:00Z")


def test_an_empty_bar_has_null_prices_and_zero_volumes() -> None:
    """A bar without trades has completeness "empty"."""
    document = parsed(payloads.bar(samples.empty_bar()))
    assert (document["open"], document["vwap"], document["volume"], document["completeness"]) == (
        None,
        None,
        0,
        "empty",
    )


def test_a_bar_with_a_volume_that_is_not_finite_is_refused() -> None:
    """A bar with infinite volume raises DataFault."""
    with pytest.raises(DataFault, match="volume"):
        payloads.bar(samples.bar(volume=math.inf))


def test_an_event_names_its_kind() -> None:
    """The kind is the last level of the topic and a field of the payload."""
    for event in samples.events():
        assert parsed(payloads.encode(event))["kind"] == event.kind
