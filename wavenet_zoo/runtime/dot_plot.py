"""Dot plots: a row for each value with its interval, the label on the left, and the value as text on the right."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wavenet_zoo.runtime.figures import BLUE, GREY, SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LINE", "DotGroup", "DotRow", "count_lines", "draw_rows"]

LINE = 0.165  # inches, height of a line of text
GAP = 0.45  # lines between rows
TITLE_CHARACTERS = 76  # of a line of a group's title


@dataclass(frozen=True)
class DotRow:
    """A row of a dot plot.

    Attributes:
        label: Text on the left, of one or more lines.
        value: Position of the mark; None for a row without one.
        text: Text on the right, of one or more lines.
        interval: Ends of the bar; None for no bar.
        caps: Draw the ends of the bar as caps.
        points: Single values, drawn as small dots.
        color: Color of the marks.
        marker: Marker of matplotlib.
    """

    label: str
    value: float | None
    text: str = ""
    interval: tuple[float, float] | None = None
    caps: bool = True
    points: tuple[float, ...] = ()
    color: str = BLUE
    marker: str = "o"

    @property
    def lines(self) -> float:
        """Height in lines of text."""
        return 1 + max(self.label.count("\n"), self.text.count("\n")) + GAP


@dataclass(frozen=True)
class DotGroup:
    """Rows under a title, which may be empty."""

    title: str
    rows: Sequence[DotRow]


def count_lines(groups: Sequence[DotGroup]) -> float:
    """Return the height of a dot plot in lines of text, without its horizontal axis."""
    return sum(_title_lines(group) + sum(row.lines for row in group.rows) for group in groups)


def draw_rows(
    axes: "Axes", groups: Sequence[DotGroup], zero: float | None = None, min_range: float = 0.0
) -> list[float]:
    """Draw the rows of all groups from top to bottom.

    Args:
        axes: Axes whose height is that of :func:`count_lines`; its vertical unit becomes a line of text.
        groups: Groups of rows.
        zero: Position of a vertical line to compare with; None for no line.
        min_range: Shortest horizontal axis; a shorter one would magnify chance.

    Returns:
        Vertical positions of the rows.
    """
    places, top = [], 0.0
    for group in groups:
        height = _title_lines(group)
        if height:
            axes.axhspan(top + 0.1, top + height - 0.1, color="#f0f2f4", zorder=1.5, linewidth=0)
            axes.annotate(
                _wrap(group.title), (0, top + height / 2), (4, 0), xycoords=("axes fraction", "data"),
                textcoords="offset points", va="center", fontsize=SMALL, parse_math=False, zorder=4,
            ).set_in_layout(False)  # fmt: skip
            top += height
        for row in group.rows:
            places.append(top + row.lines / 2)
            top += row.lines
    rows = [row for group in groups for row in group.rows]
    for row, place in zip(rows, places, strict=True):
        _draw_row(axes, row, place)
    axes.set_yticks(places, [row.label for row in rows], parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(top, 0)
    if zero is not None:
        axes.axvline(zero, color=GREY, linewidth=1, zorder=1.2)
    axes.margins(x=0.06)
    low, high = axes.get_xlim()
    if high - low < min_range:
        axes.set_xlim((low + high - min_range) / 2, (low + high + min_range) / 2)
    return places


def _draw_row(axes: "Axes", row: DotRow, place: float) -> None:
    if row.points:
        axes.plot(row.points, [place] * len(row.points), ".", color=row.color, alpha=0.5, markersize=4)
    if row.value is not None:
        if row.interval is not None:
            low, high = row.interval
            axes.errorbar(
                row.value, place, xerr=[[row.value - low], [high - row.value]], color=row.color, linewidth=1.4,
                capsize=3 if row.caps else 0,
            )  # fmt: skip
        axes.plot(row.value, place, row.marker, color=row.color, zorder=3)
    if row.text:
        axes.text(
            1.02, place, row.text, transform=axes.get_yaxis_transform(), va="center_baseline",
            fontsize=SMALL, parse_math=False,
        )  # fmt: skip


def _title_lines(group: DotGroup) -> float:
    return 1.7 + _wrap(group.title).count("\n") if group.title else 0.0


def _wrap(title: str) -> str:
    return textwrap.fill(title, TITLE_CHARACTERS, break_on_hyphens=False)
