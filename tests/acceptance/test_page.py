"""The page in a real Chromium, over a real server: what people see when they talk, are cut off, and come back.

Each person is a tab of one browser. Playwright's synchronous interface drives it, so these tests are no coroutines; it
waits for conditions by itself, and fails with what was missing.
"""

import asyncio
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from server_process import ServerProcess  # type: ignore[import-not-found]
from tcp_proxy import TcpProxy  # type: ignore[import-not-found]

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 15_000
PHONE = {"width": 375, "height": 720}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium"),
]
expect = sync_api.expect
expect.set_options(timeout=PATIENCE_MS)
_titles = (f"Room {number}" for number in count(1))


class Theatre:
    """A server, a line to it that can be cut, and a browser."""

    def __init__(self, server: ServerProcess, proxy: TcpProxy, browser: Any) -> None:
        self.server = server
        self.proxy = proxy
        self.browser = browser
        self.complaints: list[str] = []

    def key(self) -> str:
        return re.findall(r"\?key=(\S+)", self.server.log.read_text())[-1]

    def link(self, *, through_proxy: bool = False) -> str:
        port = self.proxy.port if through_proxy else self.server.port
        return f"http://127.0.0.1:{port}/?key={self.key()}"

    @contextmanager
    def people(self, **options: Any) -> Iterator["Crowd"]:
        """One profile of the browser; every tab in it is a person."""
        context = self.browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        context.set_default_timeout(PATIENCE_MS)
        try:
            yield Crowd(self, context)
        finally:
            context.close()


class Crowd:
    """The tabs of one browser profile."""

    def __init__(self, theatre: Theatre, context: Any) -> None:
        self.theatre = theatre
        self.context = context

    def enter(self, name: str, *, through_proxy: bool = False) -> "Person":
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.theatre.complaints.append(f"{name}: {error}"))
        page.on("console", lambda message: self._heard(name, message))
        page.goto(self.theatre.link(through_proxy=through_proxy))
        page.get_by_role("button", name=name).click()
        person = Person(page, name)
        person.wait_live()
        return person

    def _heard(self, name: str, message: Any) -> None:
        # A browser writes down every request that the network refused; cutting the line makes such.
        if message.type in ("error", "warning") and "net::ERR_" not in message.text:
            self.theatre.complaints.append(f"{name}: {message.text}")


class Person:
    """Somebody at a tab."""

    def __init__(self, page: Any, name: str) -> None:
        self.page = page
        self.name = name
        self.messages = page.locator("#messages > .message:not(.pending) .text")
        self.pending = page.locator("#messages > .pending")
        self.banner = page.locator("#banner")

    def wait_live(self) -> None:
        expect(self.page.locator("#house")).to_have_attribute("data-line", "live", timeout=PATIENCE_MS)

    def create(self, title: str) -> None:
        self.page.get_by_placeholder("A new room…").fill(title)
        self.page.get_by_role("button", name="Create").click()
        expect(self.page.locator("#title")).to_have_text(title)

    def join(self, title: str) -> None:
        self.page.get_by_role("button", name=f"Join {title}", exact=True).click()
        expect(self.page.locator("#title")).to_have_text(title)

    def say(self, text: str) -> None:
        self.page.locator("#say").fill(text)
        self.page.locator("#say").press("Enter")

    def hears(self, texts: list[str]) -> None:
        """Exactly these messages, in this order."""
        expect(self.messages).to_have_text(texts, timeout=PATIENCE_MS)


@contextmanager
def ordinary_asyncio() -> Iterator[None]:
    """trio-asyncio, once imported, gives every new loop of this thread; Playwright's cannot be one of those."""
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(None)


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    # The proxy's origin must be known before the server starts, and the server's port before the proxy forwards.
    with TcpProxy(0) as proxy:
        settings = {"ENVIRONMENT": "development", "ALLOWED_ORIGINS": f"http://127.0.0.1:{proxy.port}"}
        with ServerProcess(**settings) as server, ordinary_asyncio(), sync_api.sync_playwright() as playwright:
            server.start()
            proxy.target_port = server.port
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            try:
                yield Theatre(server, proxy, browser)
            finally:
                browser.close()


@pytest.fixture(autouse=True)
def nothing_unforeseen(theatre: Theatre) -> Iterator[None]:
    """Neither the browser nor the server complains in any test."""
    theatre.complaints.clear()
    before = len(theatre.server.faults())
    yield
    theatre.proxy.heal()
    assert theatre.complaints == []
    assert theatre.server.faults()[before:] == []


@pytest.fixture
def title() -> str:
    return next(_titles)


# -- talking ----------------------------------------------------------------------------------------------------------


def test_two_tabs_are_two_people_who_talk_and_see_each_other_type_and_read(theatre: Theatre, title: str):
    with theatre.people() as people:
        alex, sarah = people.enter("Alex Creator"), people.enter("Sarah Investor")
        alex.create(title)
        sarah.join(title)
        alex.say("Good morning")
        sarah.hears(["Good morning"])
        sarah.say("Good morning to you\nand to the cat")
        alex.hears(["Good morning", "Good morning to you\nand to the cat"])
        expect(alex.page.locator("#members")).to_have_text("2 people, 2 here now")

        sarah.page.locator("#say").press_sequentially("I wonder")
        expect(alex.page.locator("#typing")).to_have_text("Sarah Investor is typing…")
        expect(alex.page.locator("#typing")).to_have_text("", timeout=PATIENCE_MS)  # idle for three seconds

        alex.say("Did you read this?")
        seen = alex.page.locator("#messages > .message", has_text="Did you read this?").locator(".seen")
        expect(seen).to_contain_text("Read by Sarah Investor")
        assert "key=" not in alex.page.url


def test_two_tabs_may_be_the_same_person(theatre: Theatre, title: str):
    with theatre.people() as people:
        one = people.enter("Alex Creator")
        one.create(title)
        other = people.enter("Alex Creator")
        other.page.locator(".room", has_text=title).click()
        one.say("from the first")
        other.hears(["from the first"])
        other.say("from the second")
        one.hears(["from the first", "from the second"])
        expect(other.page.locator("#messages > .own")).to_have_count(2)


CHANGE = """async ([title, body]) => {
  const answer = await (await fetch("/api/conversations")).json();
  const room = answer.data.conversations.find((one) => one.title === title).id;
  const { data } = await (await fetch(`/api/conversations/${room}/messages`)).json();
  const last = data.messages.filter((one) => !one.is_deleted).at(-1);
  const headers = { "Content-Type": "application/json" };
  const said = body === null ? {} : { body: JSON.stringify({ content: body }) };
  const options = { method: body === null ? "DELETE" : "PUT", headers, ...said };
  return (await fetch(`/api/messages/${last.id}`, options)).status;
}"""


def test_what_was_said_is_shown_as_it_stands_when_it_was_edited_or_deleted(theatre: Theatre, title: str):
    with theatre.people() as people:
        alex, sarah = people.enter("Alex Creator"), people.enter("Sarah Investor")
        alex.create(title)
        sarah.join(title)
        sarah.say("first")
        sarah.say("helo")
        alex.hears(["first", "helo"])
        assert sarah.page.evaluate(CHANGE, [title, "hello"]) == 200  # by the cookie, which is of who came in last
        for person in (alex, sarah):
            person.hears(["first", "hello"])
        assert sarah.page.evaluate(CHANGE, [title, None]) == 200
        alex.say("on we go")
        for person in (alex, sarah):
            person.hears(["first", "deleted", "on we go"])
        sarah.page.reload()
        sarah.wait_live()
        sarah.hears(["first", "deleted", "on we go"])


def test_what_people_write_is_never_markup(theatre: Theatre):
    nasty = "<img src=x onerror=document.title='owned'> <b>bold</b> &amp; </li>"
    with theatre.people() as people:
        alex, sarah = people.enter("Alex Creator"), people.enter("Sarah Investor")
        alex.create(nasty)
        sarah.join(nasty)
        alex.say(nasty)
        sarah.hears([nasty])
        expect(sarah.page.locator("#title")).to_have_text(nasty)
        assert sarah.page.locator("#talk b:not(.who b), #talk img, #rooms img, #backstage img").count() == 0
        assert "owned" not in sarah.page.title()


# Typed, a hundred messages are 8 s of a core.
SAY_OVER_REST = """async ([title, texts]) => {
  const answer = await (await fetch("/api/conversations")).json();
  const room = answer.data.conversations.find((one) => one.title === title).id;
  const options = { method: "POST", headers: { "Content-Type": "application/json" } };
  const said = [];
  for (const content of texts) {
    const body = JSON.stringify({ content });
    said.push((await fetch(`/api/conversations/${room}/messages`, { ...options, body })).status);
  }
  return said;
}"""


def test_history_is_paged_upwards_and_a_reload_comes_back_to_the_same_place(theatre: Theatre, title: str):
    texts = [f"line {number}" for number in range(1, 121)]
    with theatre.people() as people:
        alex = people.enter("Alex Creator")
        alex.create(title)
        assert alex.page.evaluate(SAY_OVER_REST, [title, texts]) == [201] * len(texts)
        alex.page.reload()
        alex.wait_live()
        expect(alex.page.locator("#title")).to_have_text(title)
        alex.hears(texts[-50:])
        for shown in (100, 120):
            alex.page.locator("#scroll").evaluate("element => { element.scrollTop = 0; }")
            expect(alex.messages).to_have_count(shown)
        alex.hears(texts)


def test_unread_is_counted_where_nobody_looks(theatre: Theatre):
    quiet, busy = "A quiet one", "A busy one"
    with theatre.people() as people:
        alex, sarah = people.enter("Alex Creator"), people.enter("Sarah Investor")
        alex.create(quiet)
        alex.create(busy)
        sarah.join(busy)
        sarah.join(quiet)
        for number in range(3):
            alex.say(f"news {number}")
        row = sarah.page.locator(".room", has_text=busy)
        expect(row.locator(".badge")).to_contain_text("3")
        expect(row).to_contain_text("news 2")
        row.click()
        expect(row.locator(".badge")).to_have_count(0)


def test_who_comes_is_not_unread_and_what_another_device_has_read_is_not_any_more(theatre: Theatre):
    title = "Read on both"
    with theatre.people() as people, theatre.people() as others:
        alex = people.enter("Alex Creator")
        alex.create(title)
        sarah, again = others.enter("Sarah Investor"), others.enter("Sarah Investor")
        sarah.join(title)
        sarah.create(f"{title}, beside")
        people.enter("Stellar Production").join(title)
        alex.say("news")
        row = sarah.page.locator(".room").filter(has=sarah.page.get_by_text(title, exact=True))
        expect(row.locator(".badge")).to_have_text("1 unread")
        expect(sarah.page).to_have_title("(1) greenroom")
        again.page.locator(".room").filter(has=again.page.get_by_text(title, exact=True)).click()
        again.hears(["news"])
        expect(row.locator(".badge")).to_have_count(0)
        expect(sarah.page).to_have_title("greenroom")


# A client of the page without a line: `answers` has what is answered to each command, by its type.
OFFLINE = """async (answers) => {
  const { Client } = await import("/console/static/greenroom.js");
  const client = new Client({ user: 1, ticket: async () => "", storage: { getItem: () => null, setItem() {} } });
  const asked = [];
  client.connection.name = "live";
  client.connection.send = (frame) => {
    asked.push([frame.type, frame.room, frame.data ?? null]);
    const data = answers[frame.type]?.shift();
    if (data !== undefined) queueMicrotask(() => client._frame({ type: "ack", id: frame.id, data }));
    return true;
  };
  const room = client.room(7);
  const said = (seq) => ({ seq, sender: 2, body: "" });
  const page = (messages, skip, top) => ({ epoch: 3, top, skip, messages: messages.map(said) });
  const seqs = () => room.log.messages.map(({ seq }) => seq);
  BODY
}"""


def offline(theatre: Theatre, body: str, **answers: list[Any]) -> Any:
    """What *body* answers, which has `client`, its `room` 7, `asked`, `page` and `seqs`."""
    with theatre.people() as people:
        return people.enter("Alex Creator").page.evaluate(OFFLINE.replace("BODY", body), answers)


def place(top: int, unread: int = 0, epoch: int = 3) -> dict[str, int]:
    return {"r": 7, "epoch": epoch, "top": top, "read": 0, "unread": unread, "members": 2}


def test_what_is_unread_is_what_others_have_said_and_nobody_here_has_read(theatre: Theatre):
    found = offline(
        theatre,
        """
        const found = [];
        const look = () => found.push(room.unread);
        const tell = (type, seq, data, sender = 2) => {
          client._frame({ type, room: 7, seq, ts: 1, data: { sender, ...data } });
          look();
        };
        await client.join(7);
        look();
        tell("message", 9, { body: "replayed, and counted by the server" });
        tell("message", 11, { body: "new" });
        tell("message", 11, { body: "told twice" });
        tell("member", 12, { user: 3, role: "member", change: "joined" });
        tell("reaction", 13, { of: 11, user: 3, reaction: "like", on: true });
        tell("pin", 14, { of: 11, by: 3, on: true });
        tell("message_edited", 15, { of: 11, body: "edited" });
        tell("message", 16, { body: "our own" }, 1);
        tell("message", 17, { body: "deleted at once", deleted: 5 });
        tell("message", 18, { body: "new" });
        tell("message_deleted", 19, { of: 18, by: 2 });
        tell("message_deleted", 20, { of: 9, by: 2 });
        client._frame({ type: "read_sync", room: 7, useq: 1, ts: 1, data: { seq: 9 } });
        look();
        client._frame({ type: "read_sync", room: 7, useq: 2, ts: 1, data: { seq: 10 } });
        look();
        tell("message", 21, { body: "new" });
        client.read(7, 11);
        look();
        client._frame({ type: "receipts", room: 7, ts: 1, data: { marks: { 1: 21 } } });
        look();
        return found;
        """,
        join=[place(10, unread=4)],
    )
    assert found == [4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 6, 5, 4, 2, 1, 2, 1, 0]


def test_of_what_the_server_has_counted_as_unread_the_log_says_how_much_is_left(theatre: Theatre):
    found = offline(
        theatre,
        """
        await client.join(7);
        await client.open(7);
        const found = [room.unread];
        for (const seq of [3, 5, 8]) {
          client.read(7, seq);
          found.push(room.unread);
        }
        client._state("waiting");
        room.entered({ epoch: 3, top: 8, read: 5, unread: 2, members: 2 });
        found.push(room.unread);
        room.entered({ epoch: 4, top: 2, read: 1, unread: 1, members: 2 });
        return [...found, room.unread, room.read];
        """,
        join=[place(8, unread=4)],
        history=[{"messages": [{"seq": seq, "sender": 2} for seq in (2, 4, 6, 8)], "top": 8, "epoch": 3}],
    )
    assert found == [4, 3, 2, 0, 2, 1, 1]


def test_a_room_that_is_joined_late_is_asked_for_what_was_missed(theatre: Theatre):
    asked = offline(
        theatre,
        """
        await client.open(7);
        await client.join(7);
        await client.join(8);
        return asked.slice(1);
        """,
        history=[{"messages": [{"seq": 4, "sender": 2}], "top": 5, "epoch": 3}],
        join=[place(9), place(0)],
    )
    assert asked == [["join", 7, {"after": 5, "epoch": 3}], ["join", 8, None]]


def test_what_is_hidden_from_us_ends_no_page(theatre: Theatre):
    hidden = {"messages": [], "skip": list(range(51, 101)), "top": 100, "epoch": 3}
    half = {"messages": [{"seq": seq, "sender": 2} for seq in range(1, 26)], "skip": list(range(26, 51)), "top": 100}
    asked, seqs, has_older = offline(
        theatre, "await client.open(7); return [asked, seqs(), room.log.hasOlder];", history=[hidden, half]
    )
    assert [data for _, _, data in asked] == [{"limit": 50}, {"before": 51, "limit": 50}]
    assert (seqs, has_older) == (list(range(1, 26)), False)
    found = offline(
        theatre,
        """
        const found = [];
        const look = () => found.push([seqs(), room.log.hasOlder]);
        const { log } = room;
        log.startWith(page([90, 95], [91, 92], 100), 4);
        look();
        log.prepend(page([], [86, 87, 88, 89], 100), 4);
        look();
        log.prepend({ ...page([85], [], 100), more: true }, 4);
        look();
        log.prepend(page([2], [3], 100), 4);
        look();
        return found;
        """,
    )
    assert found == [
        [[90, 95], True],
        [[90, 95], True],
        [[85, 90, 95], True],
        [[2, 85, 90, 95], False],
    ]


# -- cut off and back -------------------------------------------------------------------------------------------------


def test_whoever_is_cut_off_catches_up_in_order_and_says_once_what_he_wrote_meanwhile(theatre: Theatre, title: str):
    with theatre.people() as near, theatre.people() as far:
        alex = near.enter("Alex Creator")
        alex.create(title)
        sarah = far.enter("Sarah Investor", through_proxy=True)
        sarah.join(title)
        alex.say("before")
        sarah.hears(["before"])

        theatre.proxy.cut()
        expect(sarah.banner).to_be_visible()
        expect(sarah.banner).to_contain_text("Reconnecting")
        texts = [f"while you were away {number}" for number in range(1, 13)]
        for text in texts:
            alex.say(text)
        alex.hears(["before", *texts])
        sarah.say("can you hear me?")
        sarah.say("hello?")
        expect(sarah.pending).to_have_count(2)
        sarah.hears(["before"])

        theatre.proxy.heal()
        everything = ["before", *texts, "can you hear me?", "hello?"]
        sarah.hears(everything)
        alex.hears(everything)
        expect(sarah.pending).to_have_count(0)
        expect(sarah.banner).to_be_hidden()


def test_a_line_that_dies_without_a_word_is_noticed_when_somebody_speaks(theatre: Theatre, title: str):
    with theatre.people() as near, theatre.people() as far:
        alex = near.enter("Alex Creator")
        alex.create(title)
        sarah = far.enter("Sarah Investor", through_proxy=True)
        sarah.join(title)
        theatre.proxy.freeze()
        sarah.say("into the void")
        alex.say("are you there?")
        expect(sarah.banner).to_be_visible()
        theatre.proxy.heal()
        for person in (alex, sarah):
            expect(person.messages).to_have_count(2, timeout=2 * PATIENCE_MS)
        assert sorted(sarah.messages.all_inner_texts()) == ["are you there?", "into the void"]
        assert alex.messages.all_inner_texts() == sarah.messages.all_inner_texts()
        expect(sarah.pending).to_have_count(0)


def test_flapping_loses_and_doubles_nothing(theatre: Theatre, title: str):
    texts = [f"word {number}" for number in range(1, 41)]
    with theatre.people() as near, theatre.people() as far:
        alex = near.enter("Alex Creator")
        alex.create(title)
        sarah = far.enter("Sarah Investor", through_proxy=True)
        sarah.join(title)
        for number, text in enumerate(texts):
            (alex if number % 2 else sarah).say(text)
            if number % 8 == 3:
                theatre.proxy.cut()
            if number % 8 == 6:
                theatre.proxy.heal()
        theatre.proxy.heal()
        expect(alex.messages).to_have_count(len(texts), timeout=4 * PATIENCE_MS)
        expect(sarah.messages).to_have_count(len(texts), timeout=4 * PATIENCE_MS)
        heard = alex.messages.all_inner_texts()
        assert sorted(heard) == sorted(texts)
        assert sarah.messages.all_inner_texts() == heard
        for start in (0, 1):  # each person's own words keep their order
            assert [text for text in heard if text in texts[start::2]] == texts[start::2]


def test_a_message_that_was_not_sent_survives_a_reload(theatre: Theatre, title: str):
    with theatre.people() as near, theatre.people() as far:
        alex = near.enter("Alex Creator")
        alex.create(title)
        sarah = far.enter("Sarah Investor", through_proxy=True)
        sarah.join(title)
        theatre.proxy.freeze()
        sarah.say("kept")
        expect(sarah.pending).to_have_count(1)
        theatre.proxy.cut()
        theatre.proxy.heal()
        sarah.page.reload()
        sarah.wait_live()
        sarah.hears(["kept"])
        alex.hears(["kept"])


@pytest.mark.parametrize("end", ["stop", pytest.param("kill", marks=pytest.mark.slow(seconds=15))])
def test_a_restart_of_the_server_is_a_pause(theatre: Theatre, title: str, end: str):
    with theatre.people() as people:
        alex, sarah = people.enter("Alex Creator"), people.enter("Sarah Investor")
        alex.create(title)
        sarah.join(title)
        alex.say("before the restart")
        sarah.hears(["before the restart"])
        getattr(theatre.server, end)()
        expect(sarah.banner).to_be_visible()
        alex.say("said while nobody listened")
        theatre.server.start()
        alex.wait_live()
        sarah.wait_live()
        sarah.say("after the restart")
        everything = ["before the restart", "said while nobody listened", "after the restart"]
        for person in (alex, sarah):
            expect(person.messages).to_have_count(3, timeout=2 * PATIENCE_MS)
            assert sorted(person.messages.all_inner_texts()) == sorted(everything)
        expect(alex.page.locator("#backstage-fault")).to_contain_text("started again")
    # The old key of each page is not known, as it must be; and whoever comes while it stops may find nobody.
    allowed = "404", "503", "Connection closed before receiving a handshake response"
    theatre.complaints[:] = [text for text in theatre.complaints if not any(why in text for why in allowed)]


# -- where one looks --------------------------------------------------------------------------------------------------

TO_THE_END = """() => {
  const { scrollHeight, scrollTop, clientHeight } = document.getElementById("scroll");
  return Math.round(scrollHeight - scrollTop - clientHeight);
}"""
# The first message that begins in sight, and how far below the upper edge.
WHAT_IS_IN_SIGHT = """() => {
  const edge = document.getElementById("scroll").getBoundingClientRect().top;
  const tops = [...document.querySelectorAll("#messages > .message")].map((element) =>
    [element.querySelector(".text").textContent, Math.round(element.getBoundingClientRect().top - edge)]);
  return tops.find(([, top]) => top >= 0);
}"""


def stays(person: "Person", probe: str, value: Any) -> None:
    """The probe answers that, and goes on answering it. In front: a browser draws no other tab.

    Asked after a frame: between a change and the next frame the page has had no chance to follow it.
    """
    person.page.bring_to_front()
    person.page.wait_for_function(f"value => JSON.stringify(({probe})()) === JSON.stringify(value)", arg=value)
    person.page.wait_for_timeout(300)
    after_frame = f"() => new Promise(tell => requestAnimationFrame(() => setTimeout(() => tell(({probe})()))))"
    assert person.page.evaluate(after_frame) == value


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.slow(seconds=15))])
def test_a_room_opens_at_its_end_and_stays_there_whatever_comes(theatre: Theatre, title: str, width: int):
    with theatre.people() as people:
        alex, sarah = people.enter("Alex Creator"), people.enter("Sarah Investor")
        alex.create(title)
        sarah.join(title)
        for number in range(25):
            alex.say(f"line {number}")
        expect(sarah.messages).to_have_count(25)
        seen = alex.page.locator("#messages > .message", has_text="line 24").locator(".seen")
        expect(seen).to_contain_text("Read by Sarah Investor")
        alex.page.set_viewport_size({"width": width, "height": 844})
        alex.page.reload()
        alex.wait_live()
        expect(seen).to_be_in_viewport(ratio=1)
        stays(alex, TO_THE_END, 0)

        sarah.page.locator("#say").press_sequentially("I type")
        expect(alex.page.locator("#typing")).to_have_text("Sarah Investor is typing…")
        stays(alex, TO_THE_END, 0)
        sarah.page.locator("#say").fill("a long answer\n" * 30)
        sarah.page.locator("#say").press("Enter")
        expect(alex.messages).to_have_count(26)
        stays(alex, TO_THE_END, 0)
        # What is laid out late, and a window that becomes smaller.
        alex.page.evaluate("document.querySelector('#messages > .message .text').style.height = '500px'")
        stays(alex, TO_THE_END, 0)
        alex.page.set_viewport_size({"width": 360, "height": 500})
        stays(alex, TO_THE_END, 0)
        for pane in ("backstage", "talk"):
            alex.page.locator(f"#tabs [data-pane={pane}]").click()
        stays(alex, TO_THE_END, 0)


def test_whoever_has_scrolled_up_keeps_what_they_look_at(theatre: Theatre, title: str):
    with theatre.people() as people:
        alex, sarah = people.enter("Alex Creator"), people.enter("Sarah Investor")
        alex.create(title)
        for number in range(40):
            alex.say(f"line {number}")
        sarah.join(title)
        seen = alex.page.locator(".seen")
        expect(seen).to_contain_text("Read by Sarah Investor")
        sarah.page.locator("#scroll").evaluate("element => { element.scrollTop = 0; }")
        alex.say("line 40")  # not read by Sarah: her mark stays above
        alex.page.locator("#scroll").evaluate("element => { element.scrollTop -= 300; }")
        alex.page.wait_for_timeout(100)
        sight = alex.page.evaluate(WHAT_IS_IN_SIGHT)
        sarah.say("and more\n" * 10)  # at the end again: she has read it, and her mark moves
        expect(alex.page.locator("#down")).to_have_text("1 new message ↓")
        expect(alex.page.locator(".message", has_text="and more").locator(".seen")).to_have_count(1)
        stays(alex, WHAT_IS_IN_SIGHT, sight)
        alex.page.evaluate("document.querySelector('#messages > .message .text').style.height = '500px'")
        stays(alex, WHAT_IS_IN_SIGHT, sight)
        alex.page.locator("#down").click()
        stays(alex, TO_THE_END, 0)
        expect(alex.page.locator("#down")).to_be_hidden()


# -- who is here ------------------------------------------------------------------------------------------------------


def test_while_the_line_is_down_nobody_is_said_to_be_here(theatre: Theatre, title: str):
    with theatre.people() as near, theatre.people() as far:
        alex = near.enter("Alex Creator")
        alex.create(title)
        sarah = far.enter("Sarah Investor", through_proxy=True)
        sarah.join(title)
        members, faces = sarah.page.locator("#members"), sarah.page.locator("#faces .face")
        expect(members).to_have_text("2 people, 2 here now")
        theatre.proxy.cut()
        expect(members).to_have_text("2 people, presence unknown")
        for index in range(2):
            expect(faces.nth(index)).to_have_attribute("data-online", "unknown")
        alex.page.close()
        theatre.proxy.heal()
        sarah.wait_live()
        expect(members).to_have_text("2 people, 1 here now")
        expect(faces.nth(1)).to_have_attribute("data-online", "false")


def test_the_people_of_a_room_are_listed_with_who_was_here_when(theatre: Theatre, title: str):
    with theatre.people() as people:
        alex, sarah = people.enter("Alex Creator"), people.enter("Sarah Investor")
        alex.create(title)
        sarah.join(title)
        expect(alex.page.locator("#members")).to_have_text("2 people, 2 here now")
        sarah.page.close()
        expect(alex.page.locator("#members")).to_have_text("2 people, 1 here now")
        alex.page.locator("#members").press("Enter")
        rows = alex.page.locator("#who li")
        expect(rows.nth(0)).to_contain_text("you, here now")
        expect(rows.nth(1)).to_contain_text("Sarah Investor")
        expect(rows.nth(1)).to_contain_text("a moment ago")
        alex.page.keyboard.press("Escape")
        expect(alex.page.locator("#who")).to_be_hidden()
        expect(alex.page.locator("#talk")).to_be_visible()
        expect(alex.page.locator("#members")).to_be_focused()


def test_presence_that_is_told_for_several_rooms_at_once_counts_in_each(theatre: Theatre):
    with theatre.people() as people:
        alex, sarah = people.enter("Alex Creator"), people.enter("Sarah Investor")
        for title in ("Both one", "Both two"):
            alex.create(title)
            sarah.join(title)
        answer = alex.page.evaluate(
            """async () => {
              const { Client } = await import("/console/static/greenroom.js");
              const client = new Client({ user: 1, ticket: async () => "", storage: sessionStorage });
              const rooms = [7, 8].map((id) => client.room(id));
              const person = { user: 2, name: "Ben", status: "online" };
              client._frame({ type: "presence_diff", rooms: [7, 8, 9], data: { joins: [person], leaves: [] } });
              const here = rooms.map((room) => room.online.has(2));
              const gone = { ...person, status: "offline", lastSeen: 5 };
              client._frame({ type: "presence_diff", room: 7, data: { joins: [], leaves: [gone] } });
              return [here, rooms.map((room) => room.online.has(2)), rooms[0].away.get(2).lastSeen, client.rooms.size];
            }"""
        )
        assert answer == [[True, True], [False, True], 5, 2]
        sarah.page.close()
        for title in ("Both one", "Both two"):
            alex.page.locator(".room", has_text=title).click()
            expect(alex.page.locator("#members")).to_have_text("2 people, 1 here now")


REMOVE = """async ([room, user]) => {
  const { token } = JSON.parse(sessionStorage.getItem("greenroom-session"));
  const headers = { Authorization: `Bearer ${token}` };
  return (await fetch(`/api/conversations/${room}/participants/${user}`, { method: "DELETE", headers })).status;
}"""


@pytest.mark.parametrize("is_away", [False, True])
def test_whoever_is_removed_is_told_so_and_the_room_closes(theatre: Theatre, title: str, is_away: bool):
    with theatre.people() as near, theatre.people() as far:
        alex = near.enter("Alex Creator")
        alex.create(title)
        sarah = far.enter("Sarah Investor", through_proxy=True)
        sarah.join(title)
        if is_away:
            theatre.proxy.cut()
            expect(sarah.banner).to_be_visible()
        room = int(alex.page.url.rpartition("/")[2])
        assert alex.page.evaluate(REMOVE, [room, 2]) == 200
        theatre.proxy.heal()
        expect(sarah.page.locator("#room-notice")).to_have_text(f"You are not in “{title}” any more.")
        expect(sarah.page.locator("#conversation")).to_be_hidden()
        expect(sarah.page.locator(".room", has_text=title)).to_have_count(0)
        assert sarah.page.evaluate("document.activeElement.closest('#rooms') !== null")


# -- what people are called and say -----------------------------------------------------------------------------------


def test_initials_are_letters_or_digits_of_any_script(theatre: Theatre):
    names = {
        "Zoé <b>x</b>": "ZB", "Alex Creator": "AC", "Anna Maria von Berg": "AB", "élise": "É", "e\u0301lise": "E\u0301",
        "محمد الفارسي": "ما", "山田 太郎": "山太", "R2 D2": "RD", "(the) 3rd": "T3",
        "🎉 Party": "P", "<>": "?", "": "?",
    }  # fmt: skip
    with theatre.people() as people:
        page = people.enter("Alex Creator").page
        told = page.evaluate(
            "async (names) => names.map((await import('/console/static/dom.js')).initials)",
            list(names),
        )
        assert dict(zip(names, told, strict=True)) == names


def test_each_text_runs_in_its_own_direction(theatre: Theatre, title: str):
    with theatre.people() as people:
        alex = people.enter("Alex Creator")
        alex.create(title)
        alex.say("مرحبا (hello).\nEnglish again.")
        expect(alex.messages).to_have_count(1)
        # Where the first character of each line stands in the bubble.
        starts = alex.page.evaluate(
            """() => {
              const [text] = document.querySelectorAll("#messages .text");
              const box = text.getBoundingClientRect();
              return [0, text.textContent.indexOf("English")].map((at) => {
                const range = new Range();
                range.setStart(text.firstChild, at);
                range.setEnd(text.firstChild, at + 1);
                const letter = range.getBoundingClientRect();
                return letter.left - box.left < box.right - letter.right ? "left" : "right";
              });
            }"""
        )
        assert starts == ["right", "left"]


def test_ones_own_last_word_is_read_after_a_reload(theatre: Theatre, title: str):
    with theatre.people() as people:
        alex = people.enter("Alex Creator")
        alex.create(title)
        alex.say("my own word")
        expect(alex.messages).to_have_count(1)
        expect(alex.pending).to_have_count(0)
        alex.page.evaluate("history.replaceState(null, '', '/')")
        alex.page.reload()
        alex.wait_live()
        row = alex.page.locator(".room").filter(has=alex.page.get_by_text(title, exact=True))
        expect(row).to_contain_text("my own word")
        expect(row.locator(".badge")).to_have_count(0)


def test_the_accessibility_tree_tells_who_said_what(theatre: Theatre, title: str):
    with theatre.people() as people:
        alex = people.enter("Alex Creator")
        alex.create(title)
        expect(alex.page.locator("#still")).to_have_text("Nothing said yet. The first word is yours.")
        for text in ("one", "two"):
            alex.say(text)
        expect(alex.messages).to_have_count(2)
        expect(alex.page.locator("#still")).to_be_hidden()
        for item in alex.page.get_by_role("log", name="Messages").get_by_role("listitem").all():
            assert "Alex Creator" in item.aria_snapshot()
        expect(alex.page.get_by_role("region", name=title)).to_be_visible()


# -- backstage --------------------------------------------------------------------------------------------------------


def test_backstage_shows_rooms_and_sockets_as_they_come_and_go(theatre: Theatre, title: str):
    with theatre.people() as people:
        alex = people.enter("Alex Creator")
        alex.create(title)
        expect(alex.page.locator("#stat-connections")).to_have_text("1")
        sarah = people.enter("Sarah Investor")
        sarah.join(title)
        expect(alex.page.locator("#stat-connections")).to_have_text("2")
        row = alex.page.locator("#stat-rooms tr", has_text=title)
        expect(row.locator("td").nth(0)).to_have_text("0")  # mailbox
        expect(row.locator("td").nth(1)).to_have_text("2")  # sockets
        expect(alex.page.locator("#stat-restarts")).to_have_text("0")
        sarah.page.close()
        expect(alex.page.locator("#stat-connections")).to_have_text("1")


def test_caught_mail_is_shown_and_its_html_runs_nothing(theatre: Theatre):
    folder = theatre.server.data / "mail"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "welcome.eml").write_text(
        "From: greenroom@example.org\nTo: sarah@example.org\nSubject: Welcome <b>in</b>\nMIME-Version: 1.0\n"
        "Content-Type: text/html; charset=utf-8\n\n<h1 style='color:green'>Hello</h1>"
        "<a href='https://example.org/'>away</a>"
    )
    with theatre.people() as people:
        alex = people.enter("Alex Creator")
        alex.page.get_by_role("button", name="Welcome <b>in</b>").click()
        expect(alex.page.locator("#letter-subject")).to_have_text("Welcome <b>in</b>")
        expect(alex.page.frame_locator("#letter iframe").locator("h1")).to_have_text("Hello")
        alex.page.frame_locator("#letter iframe").get_by_role("link", name="away").click()
        expect(alex.page.locator("#letter-note")).to_have_text("Links in a mail are not followed here.")
        expect(alex.page.frame_locator("#letter iframe").locator("h1")).to_have_text("Hello")
        alex.page.keyboard.press("Escape")
        expect(alex.page.locator("#letter")).to_be_hidden()
    theatre.complaints[:] = [text for text in theatre.complaints if "Content Security Policy" not in text]


def test_without_the_key_there_is_a_word_on_how_to_get_in(theatre: Theatre):
    with theatre.people() as people:
        page = people.context.new_page()
        answer = page.goto(f"http://127.0.0.1:{theatre.server.port}/")
        assert answer.status == 200
        expect(page.get_by_text("make run")).to_be_visible()
        assert page.locator("script").count() == 0


# -- hands and eyes ---------------------------------------------------------------------------------------------------


def walk(page: Any, key: str, target: str) -> None:
    """Press *key* until the element has the focus."""
    for _ in range(40):
        if page.evaluate("document.activeElement.id") == target:
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} does not lead to #{target}")


def test_a_blank_name_at_the_entrance_is_said_to_be_none(theatre: Theatre):
    with theatre.people() as people:
        page = people.context.new_page()
        page.goto(theatre.link())
        page.locator("#name").fill("   ")
        page.get_by_role("button", name="Come in").click()
        expect(page.locator("#entrance-fault")).to_have_text("Write a name first, or take one of those above.")
        expect(page.locator("#name")).to_be_focused()
        page.locator("#name").fill("Mo")
        page.keyboard.press("Enter")
        expect(page.locator("#house")).to_have_attribute("data-line", "live")


def test_whoever_says_more_than_they_may_is_told_until_when_it_waits(theatre: Theatre, title: str):
    with ServerProcess(ENVIRONMENT="development", MESSAGES_PER_MINUTE=2) as server:
        server.start()
        with Theatre(server, theatre.proxy, theatre.browser).people() as people:
            alex = people.enter("Alex Creator")
            alex.create(title)  # which is the first of the two
            alex.say("one")
            alex.hears(["one"])
            alex.say("two")
            waits = re.compile(r"^Waiting to be sent: too many messages.*; again at \d?\d:\d\d:\d\d")
            expect(alex.pending.locator(".delivery")).to_have_text(waits)


def test_the_keyboard_is_enough(theatre: Theatre):
    first, second = "Keys one", "Keys two"
    with theatre.people() as people:
        page = people.context.new_page()
        page.goto(theatre.link())
        expect(page.get_by_role("button", name="Alex Creator")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # Sarah Investor
        expect(page.locator("#house")).to_have_attribute("data-line", "live")
        for title, key in ((first, "Tab"), (second, "Shift+Tab")):
            walk(page, key, "room-title")
            page.keyboard.type(title)
            page.keyboard.press("Enter")
            expect(page.locator("#title")).to_have_text(title)
            expect(page.locator("#say")).to_be_focused()
        page.keyboard.type("one")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("two")
        page.keyboard.press("Enter")
        expect(page.locator("#messages > .message:not(.pending) .text")).to_have_text(["one\ntwo"])
        page.keyboard.press("Alt+ArrowDown")
        expect(page.locator("#title")).not_to_have_text(second)
        page.keyboard.press("Alt+ArrowUp")
        expect(page.locator("#title")).to_have_text(second)
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.closest('#rooms') !== null")
        ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_one_panel_at_a_time_and_never_scrolls_sideways(theatre: Theatre, title: str, scheme: str):
    with theatre.people(color_scheme=scheme) as people:
        alex = people.enter("Alex Creator")
        page = alex.page
        alex.create(title)
        alex.say("w" * 400)
        alex.say("https://example.org/" + "path/" * 60)
        expect(alex.messages).to_have_count(2)
        page.set_viewport_size(PHONE)
        for pane in ("rooms", "talk", "backstage"):
            page.locator(f"#tabs [data-pane={pane}]").click()
            expect(page.locator(f"#{pane}")).to_be_visible()
            for other in {"rooms", "talk", "backstage"} - {pane}:
                expect(page.locator(f"#{other}")).to_be_hidden()
            assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
            assert page.evaluate("document.documentElement.scrollHeight") == PHONE["height"]
            assert page.evaluate("document.scrollingElement.scrollTop") == 0
        page.keyboard.press("Escape")
        expect(page.locator("#talk")).to_be_visible()
        page.get_by_role("button", name="Back to the rooms").click()
        expect(page.locator("#rooms")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(theatre: Theatre, title: str, scheme: str):
    with theatre.people(color_scheme=scheme) as people:
        alex, sarah = people.enter("Alex Creator"), people.enter("Sarah Investor")
        alex.create(title)
        sarah.join(title)
        alex.say("words of mine")
        sarah.hears(["words of mine"])
        sarah.say("words of hers")
        alex.hears(["words of mine", "words of hers"])
        expect(alex.page.locator(".seen")).to_have_count(1)
        alex.page.wait_for_timeout(500)  # transitions of colours
        assert alex.page.evaluate(FAINT_TEXTS) == []


# Every visible text whose contrast with the nearest opaque ground is below 4.5 (WCAG 2.2, 1.4.3).
FAINT_TEXTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = (colour) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, at) => {
    const part = colour[at] / 255;
    return sum + weight * (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  }, 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return rgba("white");
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!says || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const [low, high] = [light(rgba(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    const what = `${element.tagName} ${element.className} ${element.textContent.slice(0, 30)}`;
    if (contrast < 4.5) faint.push(`${what} ${contrast.toFixed(2)}`);
  }
  return faint;
}"""
