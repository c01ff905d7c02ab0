"""Figure of networks that were compared image by image."""

from typing import TYPE_CHECKING

from wavenet_zoo.paper.table import PaperTable
from wavenet_zoo.runtime.dot_plot import LINE, DotGroup, DotRow, count_lines, draw_rows
from wavenet_zoo.runtime.figures import WIDTH, figure_style, new_figure, set_heading

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_pairs"]


@figure_style()
def draw_pairs(table: PaperTable) -> "Figure":
    """Draw the differences of top-1 with their 95 % intervals, by question.

    Args:
        table: The table ``pairs``.
    """
    questions: dict[str, list[DotRow]] = {}
    for row in table.rows:
        low, high = row["interval"]
        text = f"{row['difference_value']:+.2f} ({low:+.2f} to {high:+.2f})"
        label = f"{row['b']}\nminus {row['a']}"
        questions.setdefault(row["question"], []).append(DotRow(label, row["difference_value"], text, (low, high)))
    groups = [DotGroup(question, rows) for question, rows in questions.items()]
    figure = new_figure(WIDTH, 0.95 + LINE * count_lines(groups))
    axes = figure.subplots()
    draw_rows(axes, groups, zero=0)
    axes.set_xlabel("difference in top-1, percentage points, with the 95 % interval of paired images")
    set_heading(figure, "Which network is better on the same images?")
    return figure
