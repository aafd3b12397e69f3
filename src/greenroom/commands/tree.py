"""`greenroom tree`: what runs in the server, as it is supervised. Looking wakes nobody."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from greenroom.commands.harmless import harmless
from greenroom.commands.running import running_or_exit
from greenroom.commands.table import counted, span


def tree(
    kind: Annotated[str | None, typer.Option("--kind", help="List actors of this kind alone.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, max=1000, help="How many actors of a kind.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the supervision tree of the running server: supervisors, services, kinds, and some actors of each kind."""
    with running_or_exit() as running:
        found = running.ask("tree", kind=kind, limit=limit)
        typer.echo(json.dumps(found) if as_json else "\n".join(lines_of(found["tree"])))


def lines_of(node: dict[str, Any]) -> list[str]:
    """A node, with what is below it."""
    return [_text(node), *_below(node, "")]


def _below(node: dict[str, Any], margin: str) -> Iterator[str]:
    children: list[dict[str, Any]] = [*node.get("children", ()), *node.get("actors", ())]
    texts = [(_text(child), child) for child in children]
    if node.get("has_more") and node["actors"]:
        texts.append((f"… and more: greenroom tree --kind {node['name']} --limit 1000", {}))
    for place, (text, child) in enumerate(texts, 1):
        is_last = place == len(texts)
        yield f"{margin}{'└─' if is_last else '├─'} {text}"
        yield from _below(child, margin + ("   " if is_last else "│  "))


def _text(node: dict[str, Any]) -> str:
    sort = node.get("type")
    if sort == "supervisor":
        return f"{node['name']}  {node['strategy']}, {counted(node['restarts'], 'restart')}"
    if sort == "service":
        state = "has ended" if node["is_over"] else "restarts" if node["actor"] is None else _actor(node["actor"])
        return f"{node['name']}  service, {node['mode']}: {state}"
    if sort == "kind":
        counts = node["counts"]
        held = ", held by its supervisor" if node["is_held"] else ""
        return (
            f"{node['name']}  {counts['loaded']} in memory, {counts['cold']} cold, {counts['depth']} waiting, "
            f"{counted(counts['turns'], 'turn')}, {counted(counts['restarts'], 'restart')}, "
            f"{counts['refused']} refused{held}"
        )
    return f"{harmless(node['address'])}  {_actor(node)}"


def _actor(actor: dict[str, Any]) -> str:
    said = [actor["phase"], f"{actor['depth']} waiting (most {actor['depth_peak']})", counted(actor["turns"], "turn")]
    if actor["turn_seconds"] is not None:
        said.append(f"a turn of {span(actor['turn_seconds'])}")
    if actor["head_seconds"] is not None:
        said.append(f"the oldest for {span(actor['head_seconds'])}")
    said += [counted(actor[f"{name}s"], name) for name in ("byte", "restart") if actor[f"{name}s"]]
    said += [f"{actor[name]} {name}" for name in ("coalesced", "refused") if actor[name]]
    if actor["units_pending"]:
        said.append(f"{actor['units_pending']} on their way to storage")
    if actor["awake_for"]:
        said.append(f"awake for {harmless(', '.join(actor['awake_for']))}")
    if actor["is_traced"]:
        said.append("traced")
    return ", ".join(said)
