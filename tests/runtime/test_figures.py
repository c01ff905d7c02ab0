import os
import subprocess
import sys

import matplotlib
import pytest
from PIL import Image

from wavenet_zoo.runtime.figures import PALETTE, figure_style, new_figure, save_figure

SCRIPT = """
import os
from pathlib import Path
from wavenet_zoo.runtime.figures import new_figure, save_figure
save_figure(new_figure(1, 1), Path("f.png"))
print(os.environ["MPLBACKEND"])
"""


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_figures_do_not_depend_on_the_backend_of_a_notebook(tmp_path, backend):
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env={**os.environ, "MPLBACKEND": backend}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert finished.stderr == "" and finished.stdout.split() == [backend]
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


@figure_style()
def draw():
    figure = new_figure(3, 2)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1])
    axes.set_title("title")
    return figure


def test_style_does_not_depend_on_the_parameters_of_the_caller(tmp_path):
    dark = {"figure.facecolor": "black", "axes.facecolor": "black", "font.size": 30, "xtick.direction": "in"}
    save_figure(draw(), tmp_path / "one.svg")
    with matplotlib.rc_context(dark):
        save_figure(draw(), tmp_path / "two.svg")
        assert {key: matplotlib.rcParams[key] for key in dark} == dark
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_background_is_opaque_and_white(tmp_path):
    save_figure(draw(), tmp_path / "f.png")
    with Image.open(tmp_path / "f.png") as image:
        pixels = image.convert("RGBA")
    assert pixels.getpixel((0, 0)) == (255, 255, 255, 255)
    assert pixels.getchannel("A").getextrema() == (255, 255)


def test_neighbouring_colors_differ_in_lightness_or_hue():
    channels = [tuple(int(color[i : i + 2], 16) for i in (1, 3, 5)) for color in PALETTE]
    assert len(set(channels)) == len(PALETTE)
    blue_yellow = [b - (r + g) / 2 for r, g, b in channels]  # what red-green blindness leaves, with lightness
    lightness = [0.3 * r + 0.59 * g + 0.11 * b for r, g, b in channels]
    for i in range(len(PALETTE) - 1):
        assert abs(blue_yellow[i] - blue_yellow[i + 1]) + abs(lightness[i] - lightness[i + 1]) > 30
