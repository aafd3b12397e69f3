"""Stacks as text for people: one line for each call, the outermost first, short paths, no values.

RoomActor.post (rooms/actor.py:120)
Conversations.load (postgres/conversations.py:88)
"""

from collections.abc import Iterable
from pathlib import PurePath
from types import FrameType

import trio

LINES_MAX = 30


def await_stack(task: trio.lowlevel.Task) -> list[str]:
    """Where a task waits, from what it was started with to what it waits for, and where the tasks wait that it started.

    At most LINES_MAX lines of each task, the innermost ones, and as many tasks.
    """
    lines: list[str] = []
    tasks, count = [(task, "")], 0
    while tasks and count < LINES_MAX:
        (waiting, margin), *tasks = tasks
        count += 1
        if margin:
            lines.append(f"{margin[:-2]}in a task that it started, {waiting.name}:")
        lines += [f"{margin}{line_of(*place)}" for place in waiting.iter_await_frames()][-LINES_MAX:]
        children = [child for nursery in waiting.child_nurseries for child in nursery.child_tasks]
        tasks = [*((child, f"{margin}  ") for child in sorted(children, key=lambda child: child.name)), *tasks]
    return lines


def call_stack(innermost: FrameType) -> list[FrameType]:
    """The frames of a thread, the outermost first."""
    frames = []
    frame: FrameType | None = innermost
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def lines_of(frames: Iterable[FrameType]) -> list[str]:
    """At most LINES_MAX, the innermost ones."""
    return [line_of(frame, frame.f_lineno) for frame in frames][-LINES_MAX:]


def line_of(frame: FrameType, number: int) -> str:
    """One call."""
    path = "/".join(PurePath(frame.f_code.co_filename).parts[-2:])
    return f"{frame.f_code.co_qualname} ({path}:{number})"
