"""A drawn picture with shapes, text, gradients and fine lines: what `dssl views` shows where no image is given."""

import numpy as np
import torch
from PIL import Image, ImageDraw

WIDTH, HEIGHT, FINER = 480, 360, 3  # drawn three times as large, then reduced: smooth edges


def scene():
    """uint8 (3, HEIGHT, WIDTH)."""
    image = Image.fromarray(sky())
    pen = Pen(ImageDraw.Draw(image))
    pen.ellipse((350, 35, 420, 105), "#fff3b0")
    for x, y in ((60, 50), (105, 42), (150, 56)):  # a cloud
        pen.ellipse((x - 38, y - 16, x + 38, y + 20), "#f4f8fb")
    pen.polygon((0, 210, 90, 110, 170, 190, 260, 90, 390, 215, 480, 150, 480, 240, 0, 240), "#7d8fb3")
    pen.polygon((232, 123, 260, 90, 294, 123, 272, 116, 258, 128), "#f7fafc")
    pen.ellipse((-150, 190, 330, 420), "#6aa84f")
    pen.ellipse((170, 205, 640, 430), "#8fbf5a")
    house(pen)
    tree(pen)
    pixels = np.array(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def sky():
    top, bottom = np.array([70, 130, 200]), np.array([225, 235, 240])
    share = np.linspace(0, 1.4, HEIGHT * FINER).clip(0, 1)[:, None, None]
    return np.broadcast_to(top + share * (bottom - top), (HEIGHT * FINER, WIDTH * FINER, 3)).astype(np.uint8)


def house(pen):
    pen.rectangle((90, 200, 220, 300), "#e8c39e")
    pen.polygon((75, 205, 155, 140, 235, 205), "#b5452c")
    pen.rectangle((185, 150, 203, 185), "#8a3a28")
    pen.rectangle((140, 245, 172, 300), "#5b3a29")
    for left in (102, 184):
        pen.rectangle((left, 222, left + 26, 248), "#3b6ea5")
        pen.rectangle((left + 12, 222, left + 14, 248), "#f5f0e6")
        pen.rectangle((left, 234, left + 26, 236), "#f5f0e6")
    for post in range(240, 340, 14):  # a fence: fine lines
        pen.rectangle((post, 282, post + 5, 310), "#f5f0e6")
    pen.rectangle((238, 290, 334, 294), "#f5f0e6")


def tree(pen):
    pen.rectangle((392, 235, 408, 300), "#6b4a2f")
    for x, y, radius, colour in ((400, 190, 48, "#2f6b3a"), (372, 215, 32, "#3a7d44"), (430, 215, 32, "#27592f")):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), colour)
    for x, y in ((385, 180), (415, 200), (400, 222), (370, 218), (432, 225)):
        pen.ellipse((x - 6, y - 6, x + 6, y + 6), "#d7263d")


class Pen:
    """PIL.ImageDraw in the final image's coordinates."""

    def __init__(self, draw):
        self.draw = draw

    def __getattr__(self, shape):
        return lambda points, colour: getattr(self.draw, shape)([x * FINER for x in points], fill=colour)
