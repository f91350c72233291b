"""Reads a page as strictly as an editor would: balance, ids, what it would load, its tables."""

from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "img", "hr", "input", "path", "use", "rect", "circle", "line"}
_LOADS = {"src", "href", "xlink:href", "data", "action", "poster", "srcset", "formaction"}


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        faults: what is wrong with its tags.
        ids: of its elements.
        links: values of every attribute that may load or lead somewhere.
        tags: names of its elements.
        attributes: names of all attributes.
        text: everything to be read, without style.
        tables: rows of cells by the tables' captions.
        labels: of its images.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.tables: dict[str, list[list[str]]] = {}
        self.labels: list[str] = []
        self._open: list[str] = []
        self._caption: str | None = None
        self.feed(html)
        self.close()
        self.faults += [f"{tag} is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.attributes |= set(given)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value or "" for name, value in attrs if name in _LOADS]
        if given.get("role") == "img":
            self.labels.append(given.get("aria-label") or "")
        if tag == "caption":
            self._caption = ""
        if tag == "tr" and self.tables:
            self._rows().append([])
        if tag in {"td", "th"}:
            self._rows()[-1].append("")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if not self._open or self._open[-1] != tag:
            self.faults.append(f"</{tag}> inside {self._open[-1:]} at {self.getpos()}")
        else:
            self._open.pop()
        if tag == "caption" and self._caption is not None:
            self.tables[self._caption] = []
            self._caption = None

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if self._caption is not None:
            self._caption += data
        elif self._open and self._open[-1] in {"td", "th"}:
            self._rows()[-1][-1] += data

    def _rows(self) -> list[list[str]]:
        return next(reversed(self.tables.values()))
