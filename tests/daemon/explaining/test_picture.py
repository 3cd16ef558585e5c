"""The PNG: drawn for every kind of network, with what it claims to show in it; and what is refused."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from daemon.explaining.finding import Explained
from daemon.explaining.picture import PlotRefused, _figure, check_drawable, draw
from daemon.output_files import OutputNotWritable
from models.explain import top_hours
from tests.daemon.explaining.conftest import Filled
from tests.daemon.explaining.test_finding import found


def words(explained: Explained) -> str:
    figure = _figure(explained)
    texts = [
        text for axes in figure.axes for text in (axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel())
    ]
    return "\n".join([figure.get_suptitle(), *texts])


def test_a_picture_is_a_png(filled: Filled, tmp_path: Path) -> None:
    """Readable again, large enough to read, and not blank."""
    file = tmp_path / "explained.png"
    draw(found(filled.folder), file)
    pixels = matplotlib.image.imread(file)
    assert min(pixels.shape[:2]) >= 1000
    some = pixels[::5, ::5].reshape(-1, pixels.shape[-1])
    assert len(np.unique(some, axis=0)) > 20


def test_the_bars_are_the_weights(filled: Filled) -> None:
    """In percent, oldest hour first, and the heat map's top row is the same forecast."""
    explained = found(filled.folder)
    hours, heat, *_ = _figure(explained).axes
    heights = [bar.get_height() for bar in hours.patches[: len(explained.hours)]]  # type: ignore[attr-defined]
    drawn = [height for height in heights if height <= 100.0]
    np.testing.assert_allclose(drawn[: len(explained.hours)], 100.0 * explained.attention)
    (image,) = heat.images
    pixels = np.ma.filled(image.get_array(), np.nan)
    np.testing.assert_allclose(pixels[0], 100.0 * explained.attention)
    assert pixels.shape == (12, 48)
    silent = [each.attention is None for each in reversed(explained.recent)]
    assert np.isnan(pixels).all(axis=1).tolist() == silent


def test_it_says_what_it_shows(filled: Filled) -> None:
    """The instrument, the forecast, who made it, and every axis with its unit."""
    explained = found(filled.folder)
    said = words(explained)
    for word in (
        "binance:BTC-USDT",
        explained.stored.id,
        explained.message.model.id,
        "weight (%)",
        "(UTC)",
        "before",
        "bar close",
    ):
        assert word in said, word
    assert ("By family" in said) == (filled.kind == "tft")


def test_the_top_hours_are_named(filled_by_tft: Filled) -> None:
    """Above their bars."""
    explained = found(filled_by_tft.folder)
    names = [text.get_text() for text in _figure(explained).axes[0].texts]
    assert {f"-{hour.bars_ago}h" for hour in top_hours(explained.hours)} <= set(names)


def test_one_forecast_alone_has_a_picture(filled_by_tft: Filled, tmp_path: Path) -> None:
    draw(found(filled_by_tft.folder, last=1), tmp_path / "alone.png")
    assert (tmp_path / "alone.png").stat().st_size > 10_000


def test_what_cannot_be_written_is_refused(filled_by_tft: Filled, tmp_path: Path) -> None:
    """Another ending, a folder that is not there, and a folder in the file's place."""
    with pytest.raises(PlotRefused, match=r"ends in \.png"):
        check_drawable(tmp_path / "picture.jpg")
    with pytest.raises(PlotRefused, match="there is no folder"):
        check_drawable(tmp_path / "nowhere" / "picture.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputNotWritable, match="cannot be written: Is a directory"):
        draw(found(filled_by_tft.folder), tmp_path / "folder.png")
