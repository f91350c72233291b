"""A drawing becomes an SVG that follows the page's colours, and a PNG."""

import re
from xml.etree import ElementTree as ET

from PIL import Image

from training.publishing.report.plots.drawing import (
    MODEL,
    VARIABLES,
    Drawing,
    Plot,
    new_figure,
    our_style,
    rendered,
)

# pytest shows it whole when an assertion fails.
NAME = "made-up"


def plot() -> Plot:
    with our_style():
        figure, axes = new_figure(2.0)
        axes.plot([0.001, 0.002, 0.003], [1, 2, 3], "o-", color=MODEL, label="5 < 6 & $x$")
        axes.legend()
        return rendered(Drawing(NAME, "A title", "caption", "alt", figure))


def test_every_colour_of_the_svg_is_a_variable_of_the_page() -> None:
    svg = plot().svg

    assert f"var({VARIABLES[MODEL]})" in svg
    assert re.findall(r"#[0-9a-f]{6}", svg) == []
    assert set(re.findall(r"var\((--[\w-]+)\)", svg)) <= set(VARIABLES.values())


def test_the_svg_is_one_sound_element_whose_ids_are_its_own() -> None:
    root = ET.fromstring(plot().svg)

    assert root.tag == "svg"
    ids = [value for element in root.iter() if (value := element.get("id"))]
    assert ids
    assert all(name.startswith(f"{NAME}-") for name in ids)
    used = re.findall(r'(?:url\(|href=")#([\w-]+)', plot().svg)
    assert used
    assert set(used) <= set(ids)


def test_text_stays_text_and_is_escaped() -> None:
    texts = ["".join(e.itertext()) for e in ET.fromstring(plot().svg).iter("text")]

    assert "5 < 6 & $x$" in texts
    assert "0.00125" in texts  # ticks lose no digit when coordinates do


def test_the_png_is_an_image_on_white() -> None:
    import io

    image = Image.open(io.BytesIO(plot().png))
    image.load()

    assert image.format == "PNG"
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert 800 < image.width < 2000


def test_the_same_drawing_gives_the_same_bytes() -> None:
    first, second = plot(), plot()

    assert first.svg == second.svg
    assert first.png == second.png
