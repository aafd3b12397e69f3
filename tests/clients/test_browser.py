"""The JavaScript client in a real Chromium, as a module without a build step and with the browser's own WebSocket."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio
from server_process import ServerProcess  # type: ignore[import-not-found]
from tcp_proxy import TcpProxy  # type: ignore[import-not-found]

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")

JS = Path(__file__).parent.parent.parent / "clients" / "js"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ["--no-sandbox", "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PATIENCE_MS = 20_000
LINES = 10

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium"),
]

TALK = """async ({ url, token, room }) => {
  const { Client } = await import("/index.js");
  const log = [];
  const onEvent = (event) => event.type === "said" && log.push([event.seq, event.body]);
  const client = new Client({ url, token, onEvent });
  Object.assign(window, { client, log, room });
  client.open();
  await client.join(room);
}"""
SAY = "(bodies) => { for (const body of bodies) client.send(room, body); }"
IS_WHOLE = "(top) => client.unsent === 0 && log.length > 0 && log.at(-1)[0] >= top"
ARE_HERE = "(users) => `${[...(client.here(room)?.keys() ?? [])].sort()}` === `${users}`"


@pytest.fixture
def browser() -> Iterator[Any]:
    # trio-asyncio, once imported, gives every new loop of this thread; Playwright's cannot be one of those.
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    try:
        yield from launched()
    finally:
        asyncio.set_event_loop_policy(None)


def launched() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def origin() -> Iterator[str]:
    """Where the pages of the application come from: any server of static files."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(JS))) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{files.server_address[1]}"
        files.shutdown()


def test_two_tabs_have_everything_after_a_cut_and_a_kill(browser: Any, origin: str):
    users = (501, 502)
    with ServerProcess(ALLOWED_ORIGINS=origin) as server:
        server.start()
        room = trio.run(server.make_room, 500, [*users])
        with TcpProxy(server.port) as proxy:
            tabs = [tab_of(browser, origin, server, proxy, user, room) for user in users]
            say(tabs, "before")
            proxy.cut()
            say(tabs, "away")
            proxy.heal()
            wait_whole(tabs, 4 * LINES)
            server.kill()
            say(tabs, "killed")
            server.start()
            wait_whole(tabs, 6 * LINES)
            stored = server.rows(
                "select seq, content, sender_id from messages where conversation_id = $1 order by seq", room
            )
            for tab in tabs:
                assert tab.evaluate("() => log") == [[row["seq"], row["content"]] for row in stored]
                tab.wait_for_function(ARE_HERE, arg=list(users))
            for at, user in enumerate(users):
                said = [row["content"] for row in stored if row["sender_id"] == user]
                assert said == [f"{what} {at} {n}" for what in ("before", "away", "killed") for n in range(LINES)]


def tab_of(browser: Any, origin: str, server: ServerProcess, proxy: TcpProxy, user: int, room: int) -> Any:
    tab = browser.new_context().new_page()
    tab.set_default_timeout(PATIENCE_MS)
    tab.goto(f"{origin}/")
    given = {"url": f"http://127.0.0.1:{proxy.port}", "token": server.token(user), "room": room}
    tab.evaluate(TALK, given)
    return tab


def say(tabs: list[Any], what: str) -> None:
    for at, tab in enumerate(tabs):
        tab.evaluate(SAY, [f"{what} {at} {n}" for n in range(LINES)])


def wait_whole(tabs: list[Any], top: int) -> None:
    for tab in tabs:
        tab.wait_for_function(IS_WHOLE, arg=top)
