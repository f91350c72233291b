"""Drawing of plots: the common style, PNG for documents and SVG for the page.

The SVG stands in the page itself. Its colours are CSS variables, so that it follows the page's
light and dark; its text is text, in the page's font. The PNG has a title and a white ground.
"""

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#20262e"
FAINT = "#69727d"
GRID = "#dfe3e8"
MODEL = "#1f6f8b"
OTHER = "#c8553d"
THIRD = "#7a5ca8"
GROUND = "#fefefe"

VARIABLES = {
    INK: "--plot-ink",
    FAINT: "--plot-faint",
    GRID: "--plot-grid",
    MODEL: "--plot-model",
    OTHER: "--plot-other",
    THIRD: "--plot-third",
    GROUND: "--plot-ground",
}
"""The page's CSS variable for every colour that a plot may use."""

WIDTH = 5.2  # inches: small enough for a phone, where the page shows it at about this size
_PNG_DPI = 160
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rewardd",
    "font.family": "DejaVu Sans",  # matplotlib brings it, so that pictures are the same everywhere
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "text.parse_math": False,  # a grade or a source may hold dollars
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
}

_ATTRIBUTE = re.compile(r'"[^"<>]*"')
_NUMBER = re.compile(r"(?<![\w#.])-?\d+\.\d{3,}")
_COLOUR = re.compile("|".join(VARIABLES))
# What matplotlib says in a style element would hold for the whole page; page.css says it.
_NEEDLESS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r"<!--.*?-->")
]
_OWN_ID = re.compile(r'(\bid="|url\(#|href="#)')


@dataclass(frozen=True, slots=True)
class Drawing:
    """A plot before it is rendered.

    Attributes:
        name: of its file, without ending; unique among the plots.
        title: what it shows.
        caption: how to read it.
        alt: what is to be seen, with its figures, for those who don't see it.
        figure: matplotlib's.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Any


@dataclass(frozen=True, slots=True)
class Absent:
    """A plot that could not be drawn, with the reason.

    Attributes:
        title: what it would show.
        why: a sentence.
    """

    title: str
    why: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A rendered plot: SVG for the page, PNG for documents.

    Attributes:
        name: of its file, without ending.
        title: what it shows.
        caption: how to read it.
        alt: what is to be seen.
        svg: an `<svg>` element to stand in a page.
        png: a file.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: str
    png: bytes


def our_style() -> AbstractContextManager[None]:
    """Context in which matplotlib draws and renders in our style."""
    context: AbstractContextManager[None] = mpl.rc_context(_STYLE)
    return context


def new_figure(height: float, *, rows: int = 1, columns: int = 1, **options: Any) -> Any:
    """A figure, `height` inches high, and its axes in our style, (rows, columns) or one alone."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


def rendered(drawing: Drawing) -> Plot:
    """Render a drawing as SVG and PNG; the same drawing gives the same bytes."""
    svg, png = BytesIO(), BytesIO()
    with our_style():
        for axes in drawing.figure.axes:
            axes.set_facecolor("none")
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        drawing.figure.savefig(svg, format="svg", metadata=nothing, transparent=True)
        drawing.figure.suptitle(
            drawing.title, x=0.012, ha="left", fontsize=10, fontweight="bold", color=INK
        )
        drawing.figure.savefig(
            png, format="png", dpi=_PNG_DPI, facecolor="white", metadata={"Software": None}
        )
    return Plot(
        drawing.name,
        drawing.title,
        drawing.caption,
        drawing.alt,
        _for_a_page(svg.getvalue().decode(), drawing.name),
        png.getvalue(),
    )


def _for_a_page(document: str, name: str) -> str:
    """The `<svg>` element of a document: colours as variables, ids its own, no needless digits."""
    element = document[document.index("<svg") :]
    start = element.index(">") + 1
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', element[:start])[0]
    inside = _COLOUR.sub(lambda found: f"var({VARIABLES[found[0]]})", element[start:])
    for needless in _NEEDLESS:
        inside = needless.sub("", inside)
    inside = _OWN_ID.sub(rf"\g<1>{name}-", inside)
    inside = inside.replace("xlink:href", "href")
    inside = _ATTRIBUTE.sub(lambda found: _NUMBER.sub(_rounded, found[0]), inside)
    return f'<svg viewBox="0 0 {width} {height}" aria-hidden="true" focusable="false">{inside}'


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}"
