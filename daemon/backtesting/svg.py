"""Plots as inline SVG: a frame with two scales, and marks drawn into it. Colours are the page's CSS variables."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
_PNG = b"\x89PNG\r\n\x1a\n"


class Plot:
    """Marks are drawn in the order of the calls; ``x`` and ``y`` are (low, high) in data."""

    def __init__(
        self,
        *,
        width: float,
        height: float,
        x: tuple[float, float],
        y: tuple[float, float],
        left: float = 52.0,
        right: float = 12.0,
        top: float = 10.0,
        bottom: float = 26.0,
    ) -> None:
        self.width, self.height = width, height
        self.left, self.right = left, width - right
        self.top, self.bottom = top, height - bottom
        self._x, self._y = _widened(x), _widened(y)
        self._parts: list[str] = []

    def x(self, value: float) -> float:
        """Pixels from the left."""
        low, high = self._x
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self._y
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def x_axis(self, ticks: Iterable[tuple[float, str]]) -> None:
        """Labels under the frame."""
        for value, label in ticks:
            self.text(self.x(value), self.bottom + 16, label, anchor="middle")

    def y_axis(self, ticks: Iterable[tuple[float, str]]) -> None:
        """Labels left of the frame and a thin line across for each."""
        for value, label in ticks:
            at = self.y(value)
            self._parts.append(f'<path class="grid" d="M{self.left:.1f} {at:.1f}H{self.right:.1f}"/>')
            self.text(self.left - 7, at + 4, label, anchor="end")

    def across(self, value: float) -> None:
        """A dashed line at a height that matters."""
        at = self.y(value)
        self._parts.append(f'<path class="mark" d="M{self.left:.1f} {at:.1f}H{self.right:.1f}"/>')

    def upright(self, value: float) -> None:
        """A dashed line at a place that matters."""
        at = self.x(value)
        self._parts.append(f'<path class="mark" d="M{at:.1f} {self.top:.1f}V{self.bottom:.1f}"/>')

    def line(self, xs: Sequence[float] | FloatArray, ys: Sequence[float] | FloatArray, colour: str) -> None:
        """A line through the points, broken where one is not finite."""
        runs, pen = [], "M"
        for x, y in zip(xs, ys, strict=True):
            if not (math.isfinite(x) and math.isfinite(y)):
                pen = "M"
                continue
            runs.append(f"{pen}{self.x(x):.1f} {self.y(y):.1f}")
            pen = "L"
        self._parts.append(f'<path fill="none" stroke="{colour}" stroke-width="1.6" d="{"".join(runs)}"/>')

    def band(self, xs: FloatArray, low: FloatArray, high: FloatArray, colour: str, *, opacity: float) -> None:
        """The area between two lines."""
        there = [f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in zip(xs, high, strict=True)]
        back = [f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in zip(xs[::-1], low[::-1], strict=True)]
        self._parts.append(f'<path fill="{colour}" fill-opacity="{opacity}" d="M{"L".join([*there, *back])}Z"/>')

    def box(self, x: tuple[float, float], y: tuple[float, float], colour: str) -> None:
        """A filled rectangle between two corners in data."""
        (left, right), (low, high) = (sorted(map(self.x, x)), sorted(map(self.y, y)))
        self._parts.append(
            f'<rect x="{left:.1f}" y="{low:.1f}" width="{max(right - left - 1, 0.5):.1f}" '
            f'height="{high - low:.1f}" fill="{colour}"/>'
        )

    def dot(self, x: float, y: float, colour: str, *, radius: float = 3.2, title: str = "") -> None:
        """A point; ``title`` appears under the pointer."""
        inner = f"<title>{escape(title)}</title>" if title else ""
        self._parts.append(
            f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius}" fill="{colour}">{inner}</circle>'
        )

    def spread(self, x: float, low: float, high: float, colour: str) -> None:
        """An upright error bar, cut off where the frame ends."""
        bottom, top = (min(max(self.y(value), self.top), self.bottom) for value in (low, high))
        self._parts.append(f'<path stroke="{colour}" stroke-width="1.4" d="M{self.x(x):.1f} {bottom:.1f}V{top:.1f}"/>')

    def image(self, grey: FloatArray, x: tuple[float, float], y: tuple[float, float]) -> None:
        """(rows, columns) in 0 to 1, the first row on top, stretched over a rectangle in data."""
        (left, right), (top, low) = (sorted(map(self.x, x)), sorted(map(self.y, y)))
        data = base64.b64encode(_png(grey)).decode()
        self._parts.append(
            f'<image x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{low - top:.1f}" '
            f'preserveAspectRatio="none" style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
        )

    def text(self, left: float, top: float, label: str, *, anchor: str = "start", strong: bool = False) -> None:
        """At pixels."""
        name = "strong" if strong else "label"
        self._parts.append(
            f'<text class="{name}" x="{left:.1f}" y="{top:.1f}" text-anchor="{anchor}">{escape(label)}</text>'
        )

    def render(self, description: str) -> str:
        """The SVG element; ``description`` is for those who cannot see it."""
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" aria-label="{escape(description)}">'
            f"{''.join(self._parts)}</svg>"
        )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers between the two."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if span / (factor * power) <= count + 0.5)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _widened(span: tuple[float, float]) -> tuple[float, float]:
    low, high = span
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _png(values: FloatArray) -> bytes:
    """An 8-bit picture with an opacity channel: nothing is see-through, one is the accent colour."""
    rows, columns = values.shape
    pixels = np.empty((rows, columns, 4), dtype=np.uint8)
    pixels[..., :3] = (10, 125, 100)
    pixels[..., 3] = np.rint(255 * np.clip(values, 0.0, 1.0))
    raw = b"".join(b"\x00" + row.tobytes() for row in pixels)  # 0: the row is not filtered
    header = struct.pack(">IIBBBBB", columns, rows, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    return _PNG + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
