"""The documents stay true: what they list is what there is."""

import re
from pathlib import Path

from greenroom.http.ws import codes
from greenroom.settings import Settings
from greenroom.settings_table import as_markdown, table

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_the_table_of_settings_is_the_one_that_the_command_prints() -> None:
    written = (DOCS / "operating.md").read_text().partition("<!-- settings -->")[2].strip()
    assert written == as_markdown(table(Settings(), {})).strip(), "run: greenroom config --markdown"


def test_every_close_code_and_error_number_is_in_the_protocol_page() -> None:
    page = (DOCS / "wire-protocol.md").read_text()
    for value in vars(codes).values():
        if isinstance(value, codes.CloseCode):
            assert re.search(rf"\b{value.code}\b", page), value
        elif isinstance(value, codes.ErrorCode):
            assert re.search(rf"\b{value.number} \| {value.name}\b", page), value


def test_no_page_links_to_a_file_that_is_not_there() -> None:
    for page in (ROOT / "README.md", *DOCS.glob("**/*.md")):
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_test_that_the_guarantees_name_exists() -> None:
    for target in re.findall(r"`(tests/[^`]+)`", (DOCS / "guarantees.md").read_text()):
        assert (ROOT / target).exists(), target
