"""`greenroom serve`: run it, say where to look, stop in order.

The first Ctrl-C (or SIGTERM, or SIGHUP) stops in order within 10 s: nothing new is taken, sockets are told, what was
accepted is stored. The second stops now: what was acknowledged is stored already, the rest is as after a crash. SIGHUP
is never the second: when a terminal is closed, its kernel and its shell both send one. Under nohup it is not heard.
A start that is still under way when it is told to stop is given up, however long it would have taken.
"""

import gc
import os
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import trio
import typer

from greenroom import __version__
from greenroom.commands.failure import CommandFailed, run_or_exit, settings_or_exit
from greenroom.commands.outlet import STANDARD_ERROR, STANDARD_OUTPUT, Outlet
from greenroom.commands.spare_memory import give_back_spare_memory
from greenroom.compose import House, compose_app, control_of, open_front, open_house
from greenroom.control.server import open_control
from greenroom.http.development import DevelopmentGate
from greenroom.http.listener import ListenError, close_listeners, inherited_descriptors, open_listeners
from greenroom.http.tls import TlsUnusable, tls_context
from greenroom.log import set_up_logging
from greenroom.settings import Settings

USUAL_BASE = "http://127.0.0.1:8787"  # where a chat goes by itself


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; HOST otherwise.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; PORT otherwise, 0 for any.")
    ] = None,
    migrates: Annotated[
        bool, typer.Option("--migrate/--no-migrate", help="Bring the database up to date first.")
    ] = True,
) -> None:
    """Run greenroom until Ctrl-C."""
    settings = settings_or_exit()
    changes = {name: value for name, value in (("host", host), ("port", port)) if value not in (None, "")}
    if changes:
        settings = settings.model_copy(update=changes)
    stderr = Outlet(STANDARD_ERROR)
    set_up_logging(settings.effective_log_level, is_development=settings.is_development, stream=stderr)
    _raise_file_limit()
    _calm_collector()
    run_or_exit(_serve, settings, migrates)


async def _serve(settings: Settings, migrates: bool) -> None:
    running: list[House] = []
    heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        heard.append(signal.SIGHUP)
    with trio.open_signal_receiver(*heard) as signals:
        async with trio.open_nursery() as nursery:
            stop, start = trio.Event(), trio.CancelScope()
            nursery.start_soon(_watch_signals, signals, stop, start, running)
            nursery.start_soon(give_back_spare_memory)
            with start:
                await _serve_until(settings, migrates, stop, running)
            nursery.cancel_scope.cancel(reason="stopped in order")


async def _watch_signals(
    signals: AsyncIterator[int], stop: trio.Event, start: trio.CancelScope, running: list[House]
) -> None:
    """The first signal asks for an end in order, the second ends the process where it stands."""
    async for number in signals:
        if stop.is_set() and number != signal.SIGHUP:
            _end_now(running)
        if not running and not stop.is_set():
            _say("greenroom stops before it has started (Ctrl-C again: now)")
            start.cancel(reason="told to stop")
        stop.set()


def _end_now(running: list[House]) -> None:
    """Leave at once. Our PostgreSQL is told to end by itself: what it has committed it keeps."""
    for house in running:
        embedded = house.storage.embedded
        if embedded is not None and embedded.pid is not None:
            os.kill(embedded.pid, signal.SIGINT)
    _say("greenroom ends now")
    os._exit(130)


async def _serve_until(settings: Settings, migrates: bool, stop: trio.Event, running: list[House]) -> None:
    try:
        tls = tls_context(settings.tls_cert, settings.tls_key)
        inherited = inherited_descriptors(os.environ, os.getpid())
        listeners = await open_listeners(settings.host, settings.port, inherited=inherited)
    except (ListenError, TlsUnusable) as fault:
        raise CommandFailed(str(fault)) from None
    if inherited:
        settings = settings.listening_at([str(listener.socket.getsockname()[0]) for listener in listeners])
    try:
        async with (
            open_house(settings, migrates=migrates) as house,
            open_control(house.storage.directory, control_of(house)),
        ):
            running.append(house)
            port = listeners[0].socket.getsockname()[1]
            app, development = compose_app(house, port)
            async with open_front(house, app, listeners, tls):
                _greet(settings, port, development, str(house.storage.directory))
                await stop.wait()
                _say("greenroom stops: sockets are told, what was accepted is stored (Ctrl-C again: now)")
    finally:
        close_listeners(listeners)


def _greet(settings: Settings, port: int, development: DevelopmentGate, directory: str) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    base = f"{'https' if settings.tls_cert else 'http'}://{host}:{port}"
    _say(f"greenroom {__version__} runs at {base}")
    if development.is_open:
        _say(f"  open    {development.link(base)}")
    else:
        _say("  The page for trying it out is for development: ENVIRONMENT=development, on loopback.")
    _say(f"  docs    {base}/docs")
    command = _same_data(settings) + ("greenroom" if shutil.which("greenroom") else os.path.relpath(sys.argv[0]))
    where = "" if base == USUAL_BASE else f" --url {base}"
    _say(f"  token   {command} token 1     a way in for curl; or talk: {command} chat{where}")
    if settings.database_url is not None or settings.jwt_secret is not None:
        _say("          in an environment with the same DATABASE_URL and JWT_SECRET as this one")
    _say(f"  data    {directory}")
    _say("  Ctrl-C stops it in order.")


def _same_data(settings: Settings) -> str:
    """What stands before a command so that it finds this server's data: another terminal has another environment."""
    if settings.greenroom_data_dir is None:
        return ""
    return f"GREENROOM_DATA_DIR={shlex.quote(str(Path(settings.greenroom_data_dir).absolute()))} "


def _say(line: str) -> None:
    outlet = Outlet(STANDARD_OUTPUT)
    outlet.write(f"{line}\n")
    outlet.flush()


def _raise_file_limit() -> None:
    """Every socket is a descriptor: take all that the system lets us have."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _calm_collector() -> None:
    """Nearly nothing here is cyclic, and a full collection of a busy server takes tens of milliseconds: do few.

    What the imports made stays for ever and is not looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 15, 30)  # with 2,000 a tenth of a busy server's time went into young collections
