"""The built-in mail templates, rendered.

Two files per template in actors/templates/: `<name>.txt.j2`, whose first line is the subject, and `<name>.html.j2`.
Names are found whatever their case and separators (`nda_request`, `ndaRequest`, `nda-request`), and by a few old names.
A variable that is missing renders as nothing: callers of the system that greenroom replaces pass what they have.
Rendering is sandboxed, HTML is escaped, links are http, https or mailto, and what comes out is bounded by request.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import unescape
from importlib.resources import files
from urllib.parse import urlsplit

from jinja2 import ChainableUndefined, FunctionLoader
from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATES = (
    "welcome",
    "ndaRequest",
    "ndaApproval",
    "ndaRejection",
    "investmentConfirmation",
    "newMessage",
    "transactionAlert",
    "weeklyDigest",
)
_ALIASES = {
    "ndaapproved": "ndaApproval",
    "ndaapprovalnotification": "ndaApproval",
    "ndarejected": "ndaRejection",
    "messagenotification": "newMessage",
    "message": "newMessage",
    "paymentconfirmation": "transactionAlert",
    "digestnotification": "weeklyDigest",
}
_BY_KEY = {name.lower(): name for name in TEMPLATES} | _ALIASES
_LINK_SCHEMES = frozenset(("http", "https", "mailto"))
_BREAKING = frozenset(("p", "div", "br", "tr", "li", "h1", "h2", "h3", "h4", "table", "ul", "ol", "blockquote"))
_SILENT = frozenset(("style", "script", "head", "title"))
# What stands in angle brackets; quotes in it may hold one that closes, if they are in pairs. No try goes past the next
# "<" and none is taken back, so that all together read a text at most twice.
_IN_BRACKETS = re.compile(r"""<((?:[^<>"']++|"[^"<]*+"|'[^'<]*+')*+(?=>)|[^<>]*+(?=>))>""")
_TAG = re.compile(r"(?P<slash>/?)(?P<name>[A-Za-z][A-Za-z0-9]*)")
_HREF = re.compile(r"""\shref\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rendered:
    """The three parts of a mail."""

    subject: str
    html: str
    text: str


def template_named(name: str) -> str | None:
    """The canonical name of a template, or None when there is none."""
    return _BY_KEY.get(re.sub(r"[^a-z0-9]", "", name.lower()))


def render(template: str, variables: Mapping[str, object]) -> Rendered:
    """Render a template by its canonical name. *variables* is what a JSON body held."""
    environment = _environment()
    subject = " ".join(environment.get_template(f"{template}.subject").render(variables).split())
    html = environment.get_template(f"{template}.html.j2").render(variables, subject=subject)
    text = environment.get_template(f"{template}.txt.j2").render(variables)
    return Rendered(subject, html, text.strip() + "\n")


def text_of(html: str) -> str:
    """The plain text of an HTML body, for mails that came without one: words, line breaks, and where links lead.

    Whatever it is given, in time linear in its length: this runs where everybody waits. html.parser does neither: it
    raises AssertionError for "<![<", and takes 75 s for 30,000 times "<a " (Python 3.11.7; CVE-2025-6069).
    """
    reader = _TextReader()
    reader.read(html)
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(_source),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["link"] = _link
    environment.filters["items"] = _items
    return environment


def _source(name: str) -> str | None:
    """The text of one of our own files; names come from the tables above, never from a caller.

    The subject is cut off before anything is rendered, so that no variable can move the border.
    """
    file = files("greenroom.actors").joinpath("templates", name.replace(".subject", ".txt.j2"))
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8")
    if name.endswith(".html.j2"):
        return text
    subject, _, rest = text.partition("\n")
    return subject if name.endswith(".subject") else rest


def _link(value: object) -> str:
    """A link that may be clicked, or nothing that does harm."""
    text = value.strip() if isinstance(value, str) else ""
    try:
        return text if urlsplit(text).scheme.lower() in _LINK_SCHEMES else "#"
    except ValueError:
        return "#"


def _items(value: object, most: int = 20) -> list[object]:
    """What a loop may walk: the first of a list, nothing of anything else."""
    return value[:most] if isinstance(value, list) else []


def _without_comments(html: str) -> str:
    """Split, not searched: a search from each of many that never end would read the whole of the rest each time."""
    text, *comments = html.split("<!--")
    return text + "".join(comment.partition("-->")[2] for comment in comments)


class _TextReader:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self._silent = ""  # the element within which nothing is to be read
        self._href: str | None = None

    def read(self, html: str) -> None:
        # re.split gives texts and, between them, what was in angle brackets.
        for number, piece in enumerate(_IN_BRACKETS.split(_without_comments(html))):
            tag = _TAG.match(piece) if number % 2 else None
            if tag is not None:
                self._read_tag(tag["name"].lower(), piece, is_end=bool(tag["slash"]))
            elif not number % 2:
                self._read_text(piece)
            elif not piece.startswith(("!", "?", "/")):
                self._read_text(f"<{piece}>")

    def _read_tag(self, name: str, tag: str, *, is_end: bool) -> None:
        if self._silent:
            if (is_end and name == self._silent) or (name == "body" and self._silent == "head"):
                self._silent = ""
        elif name in _SILENT:
            self._silent = "" if is_end else name
        elif name in _BREAKING and not (is_end and name == "br"):
            self.parts.append("\n")
        elif name == "a" and is_end:
            self.parts.append(f" ({self._href})" if self._href and self._href.startswith("http") else "")
            self._href = None
        elif name == "a":
            href = _HREF.search(tag)
            self._href = None if href is None else unescape(href[1] or href[2] or href[3] or "")

    def _read_text(self, text: str) -> None:
        if not self._silent:
            self.parts.append(unescape(text).replace("\n", " "))
