"""Plots: coordinates where they belong, well-formed, and pictures that decode to what went in."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from daemon.backtesting.svg import Plot, ticks


def plot() -> Plot:
    return Plot(width=100, height=60, x=(0.0, 10.0), y=(-1.0, 1.0), left=20, right=0, top=0, bottom=10)


def test_the_scales_run_from_corner_to_corner() -> None:
    """Low x is left, low y is at the bottom."""
    drawn = plot()
    assert (drawn.x(0.0), drawn.x(5.0), drawn.x(10.0)) == (20.0, 60.0, 100.0)
    assert (drawn.y(-1.0), drawn.y(0.0), drawn.y(1.0)) == (50.0, 25.0, 0.0)


def test_a_line_breaks_where_a_point_is_missing() -> None:
    """NaN lifts the pen."""
    drawn = plot()
    drawn.line([0.0, 5.0, 7.0, 10.0], [0.0, 1.0, float("nan"), -1.0], "red")
    [path] = re.findall(r' d="([^"]+)"', drawn.render(""))
    assert path == "M20.0 25.0L60.0 0.0M100.0 50.0"


def test_a_span_of_nothing_still_has_a_scale() -> None:
    """One value alone lies in the middle."""
    drawn = Plot(width=100, height=60, x=(3.0, 3.0), y=(7.0, 7.0), left=0, right=0, top=0, bottom=0)
    assert (drawn.x(3.0), drawn.y(7.0)) == (50.0, 30.0)


def test_text_is_escaped_and_the_whole_is_well_formed() -> None:
    """A name with an angle bracket does not break the page."""
    drawn = plot()
    drawn.text(1, 1, "<b> & co")
    drawn.dot(5, 0, "red", title='"<kind>"')
    drawn.box((1, 2), (0, 1), "red")
    drawn.band(np.array([0.0, 10.0]), np.array([-1.0, -1.0]), np.array([1.0, 0.0]), "red", opacity=0.5)
    drawn.spread(5.0, -9.0, 9.0, "red")
    drawn.across(0.0)
    drawn.upright(5.0)
    drawn.x_axis([(5.0, "five")])
    drawn.y_axis([(0.0, "zero")])
    root = ET.fromstring(drawn.render('say "what" it is'))  # noqa: S314  # our own
    assert root.attrib["aria-label"] == 'say "what" it is'
    assert "<b> & co" in [each.text for each in root.iter("text")]


def test_an_error_bar_ends_at_the_frame() -> None:
    """It never runs over the labels."""
    drawn = plot()
    drawn.spread(5.0, -9.0, 9.0, "red")
    assert "M60.0 50.0V0.0" in drawn.render("")


def test_a_picture_decodes_to_its_weights() -> None:
    """Opacity is the weight; what is above one is one."""
    drawn = plot()
    drawn.image(np.array([[0.0, 0.5], [1.0, 7.0]]), (0.0, 10.0), (-1.0, 1.0))
    [data] = re.findall(r"base64,([^\"]+)", drawn.render(""))
    png = base64.b64decode(data)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    [at] = [match.start() for match in re.finditer(b"IDAT", png)]
    length = struct.unpack(">I", png[at - 4 : at])[0]
    raw = np.frombuffer(zlib.decompress(png[at + 4 : at + 4 + length]), np.uint8).reshape(2, 9)
    np.testing.assert_array_equal(raw[:, 0], 0)
    np.testing.assert_array_equal(raw[:, 1:].reshape(2, 2, 4)[..., 3], [[0, 128], [255, 255]])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.97, 1.06, [0.98, 1.0, 1.02, 1.04, 1.06]),
        (-4.2, 3.9, [-4.0, -2.0, 0.0, 2.0]),
        (88_000.0, 93_000.0, [88_000.0, 89_000.0, 90_000.0, 91_000.0, 92_000.0, 93_000.0]),
        (2.0, 2.0, [2.0]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    """Steps of 1, 2, 2.5 or 5 times a power of ten."""
    assert ticks(low, high) == pytest.approx(expected)
