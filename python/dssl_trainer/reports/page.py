"""A page of pictures in lanes, each with a title above it and words below it."""

import dataclasses
import io
import textwrap
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..atomic import replacing
from ..errors import TrainerError

BLUE, ORANGE, RED, GREY = "#2f6db3", "#d9822b", "#c0392b", "#9aa0a6"
INK, PALE = "#20252b", "#5f6670"
ACROSS, LETTERS = 12, 31  # panels in a row, and letters in a line below one
PICTURE, GAP, TITLE, LINE = 1.62, 0.34, 0.2, 0.125  # inches
HEAD, MARGIN, BETWEEN = 0.95, 0.3, 0.2
DPI, LARGEST = 120, 30000  # pixels of the longer side


@dataclasses.dataclass(eq=False)
class Panel:
    """A picture, uint8 (3, H, W); boxes: (top, left, height, width, colour) to draw on it."""

    picture: torch.Tensor
    title: str
    caption: str
    colour: str = GREY
    boxes: tuple = ()

    @property
    def shown_height(self):
        """Inches: a wide picture is as wide as a square one and less high."""
        height, width = self.picture.shape[1:]
        return PICTURE * min(1, height / width)

    @property
    def lines(self):
        return [line for part in self.caption.split("\n") for line in textwrap.wrap(part, LETTERS)]


def save(path, groups, heading, note, arrows=True):
    """Write the page whole or not at all; groups are lists of lanes, lanes lists of panels, None for an empty place."""
    rows = [(row, last) for group in groups for row, last in rows_of(group)]
    columns = max(len(row) for row, _ in rows)
    width = max(2 * MARGIN + columns * (PICTURE + GAP) - GAP, 7)
    height = HEAD + sum(height_of(row) + BETWEEN * last for row, last in rows) + MARGIN / 2
    if max(width, height) * DPI > LARGEST:
        raise TrainerError(f"the page would be {width * DPI:.0f}x{height * DPI:.0f} pixels; take fewer images or steps")
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.text(MARGIN / width, 1 - 0.34 / height, escape(heading), fontsize=12, color=INK, weight="bold")
    letters = int((width - 2 * MARGIN) / 0.062)
    wrapped = "\n".join(textwrap.wrap(note, letters)[:3])
    figure.text(MARGIN / width, 1 - 0.44 / height, escape(wrapped), fontsize=7, color=PALE, va="top")
    top = HEAD
    for number, (row, last) in enumerate(rows):
        for column, panel in enumerate(row):
            if panel is not None:
                follows = arrows and column > 0 and row[column - 1] is not None
                place(figure, panel, MARGIN + column * (PICTURE + GAP), top, tallest(row), follows)
        top += height_of(row)
        if last and number < len(rows) - 1:
            line = 1 - (top + BETWEEN / 3) / height
            figure.add_artist(Rectangle((MARGIN / width, line), 1 - 2 * MARGIN / width, 0, color="#d5d9de", lw=0.6))
        top += BETWEEN * last
    write(figure, path)


def rows_of(group):
    """(row, whether it is the group's last): lanes longer than the page is wide go on below, a place to the right."""
    rows = []
    for lane in group:
        rows.append(lane[:ACROSS])
        for start in range(ACROSS, len(lane), ACROSS - 1):
            rows.append([None, *lane[start : start + ACROSS - 1]])
    return [(row, number == len(rows) - 1) for number, row in enumerate(rows)]


def tallest(row):
    return max(panel.shown_height for panel in row if panel is not None)


def height_of(row):
    return TITLE + tallest(row) + 0.1 + LINE * max(len(panel.lines) for panel in row if panel is not None)


def place(figure, panel, left, top, room, arrow):
    """One panel, its upper left corner at (left, top) inches from that of the page, its picture amid `room` inches."""
    width, height = figure.get_size_inches()
    across, down = (lambda inches: inches / width), (lambda inches: 1 - inches / height)
    top += (room - panel.shown_height) / 2
    bottom = top + TITLE + panel.shown_height
    axis = figure.add_axes((across(left), down(bottom), across(PICTURE), panel.shown_height / height))
    small = max(panel.picture.shape[1:]) <= 64
    axis.imshow(panel.picture.permute(1, 2, 0).numpy(), interpolation="nearest" if small else "antialiased")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(color=panel.colour, linewidth=0.8 if panel.colour == GREY else 2)
    for y, x, box_height, box_width, colour in panel.boxes:
        axis.add_patch(Rectangle((x - 0.5, y - 0.5), box_width, box_height, fill=False, color=colour, lw=1.4))
    middle = across(left + PICTURE / 2)
    title_colour = INK if panel.colour == GREY else panel.colour
    figure.text(middle, down(top + TITLE - 0.06), panel.title, ha="center", fontsize=9.5, color=title_colour)
    figure.text(middle, down(bottom + 0.06), escape("\n".join(panel.lines)), ha="center", va="top", fontsize=6.8,
                color=INK, linespacing=1.25)  # fmt: skip
    if arrow:
        figure.text(across(left - GAP / 2), down(bottom - panel.shown_height / 2), "\u2192", ha="center", va="center",
                    fontsize=13, color=PALE)  # fmt: skip


def escape(text):
    """File names may hold what matplotlib takes for mathematics."""
    return text.replace("$", r"\$")


def write(figure, path):
    kind = Path(path).suffix[1:].lower() or "png"
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise TrainerError(f"--out: expected a file that ends in {', '.join(sorted(known))}; got {str(path)!r}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(buffer.getvalue())
