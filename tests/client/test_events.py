"""Both clients tell the same events with the same fields, and docs/clients.md names each of them."""

import dataclasses
import re
from pathlib import Path
from typing import get_args

from greenroom.client.client import Client
from greenroom.client.events import Event, Person

ROOT = Path(__file__).parent.parent.parent
TYPES = (ROOT / "clients" / "js" / "index.d.ts").read_text()
PAGE = (ROOT / "docs" / "clients.md").read_text()


def camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def fields_of(kind: type) -> set[str]:
    return {camel(field.name) for field in dataclasses.fields(kind)}


def declared(body: str) -> set[str]:
    return set(re.findall(r"(\w+): ", body))


def test_the_events_have_the_same_names_and_fields():
    of_js = {name: declared(rest) for name, rest in re.findall(r'\{ type: "(\w+)"; ?([^}]*)\}', TYPES)}
    for name in ("Said", "Changed", "Reacted", "Pinned"):  # which have a type of their own
        (body,) = re.findall(rf"interface {name} \{{([^}}]*)\}}", TYPES)
        of_js[name.lower()] = declared(body) - {"type"}
    assert of_js.pop("ended") == {"code", "why"}  # which is ClientRefused in Python
    assert of_js == {kind.__name__[0].lower() + kind.__name__[1:]: fields_of(kind) for kind in get_args(Event)}
    (person,) = re.findall(r"interface Person \{([^}]*)\}", TYPES)
    assert declared(person) == fields_of(Person)


def test_the_clients_are_asked_the_same():
    (body,) = re.findall(r"class Client \{(.*?)\n\}", TYPES, re.DOTALL)
    of_js = set(re.findall(r"^  (?:readonly )?(\w+)[(:]", body, re.MULTILINE)) - {"constructor"}
    named = {name for part in Client.__mro__[:-1] for name in vars(part) if not name.startswith("_")}
    of_python = {camel(name) for name in named} | {"userId", "isConnected"}
    assert of_js - of_python == {"open", "close"}  # a block in Python: open_client
    assert of_python - of_js == {"http", "endNow"}  # who closes in JavaScript does not wait unless they want to


def test_the_page_names_every_event():
    for kind in get_args(Event):
        name = kind.__name__
        assert f"| `{name[0].lower()}{name[1:]}` | `{name}` |" in PAGE, name
