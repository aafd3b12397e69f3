"""`greenroom chat`: join a room from a terminal and talk.

What is shown of the room is what the server has stored, one's own lines too: a line that is said while the server is
away is kept, sent when it is back, and shown then.

Who types has commands, which begin with /. In a terminal the end of the input, /quit and Ctrl-C leave in order: lines
that are still on their way get LEAVE_SECONDS_MAX. What comes through a pipe is said as it is, line by line; all of it
is said and shown, and what was there before is, too, unless the server is given up: parting.py.

Exit codes: 0 left; 1 the server refuses us or is not there, or lines were not delivered; 2 told wrongly.
"""

import getpass
import re
import signal
import time
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import urlsplit

import jwt
import trio
import typer

from greenroom.client import (
    Changed,
    Client,
    ClientRefused,
    Connected,
    Disconnected,
    Event,
    Member,
    OutboxFull,
    Presence,
    Refused,
    Replaced,
    RoomRefused,
    Said,
    ServerAway,
    Typing,
    Undelivered,
    open_client,
)
from greenroom.client.door import room_id_of
from greenroom.client.outbox import LINES_MAX
from greenroom.commands.failure import TOLD_WRONGLY, CommandFailed, only, run_or_exit, settings_or_exit, stop
from greenroom.commands.harmless import in_line
from greenroom.commands.message_lines import line_of_change, lines_of
from greenroom.commands.parting import SILENCE_SECONDS_MAX, Parting
from greenroom.commands.piped_lines import BadLine
from greenroom.commands.room_choice import choose_room, title_of
from greenroom.commands.screen import Screen, open_screen
from greenroom.commands.standard_output import OutputLost
from greenroom.commands.what_was_said import WhatWasSaid
from greenroom.http.claims import subject_of
from greenroom.http.errors import ApiError
from greenroom.secret_file import SecretUnusable
from greenroom.settings import Settings
from greenroom.storage.errors import StorageError
from greenroom.this_machine import data_directory, signing_secret

RECENT_MESSAGES = 20
RECENT_PLACES = 200  # of the log, among which these are looked for: it holds more than messages
OLDER_SECONDS_MAX = 5.0  # waited for those that stand before them, while no event is read
HISTORY_MESSAGES = 50
CHANGEABLE_MAX = 500  # messages whose edits are shown
TOKEN_SECONDS = 12 * 3600
TYPING_SECONDS = 3.0  # shown again so often while one types
LEAVE_SECONDS_MAX = 3.0
HELP = "/who  /history [how many]  /quit     a line that begins with // is said with one /"


def chat(
    room: Annotated[
        str, typer.Argument(help="The id of a room, or its title; without it rooms are listed.", show_default=False)
    ] = "",
    user: Annotated[
        str, typer.Option("--user", help="Who to be, as in `greenroom token`; else the name of the login.")
    ] = "",
    token: Annotated[str, typer.Option("--token", help="A token to show instead.", envvar="GREENROOM_TOKEN")] = "",
    url: Annotated[str, typer.Option("--url", help="The server; else that of HOST and PORT.")] = "",
    new: Annotated[str, typer.Option("--new", help="Make an open room of this title, and join it.")] = "",
) -> None:
    """Join a room and talk. Lines come from the keyboard, or from a pipe, of which every line is said as it is.

    Without --token one is made as by `greenroom token`, which the server believes when it has the same JWT_SECRET or
    data directory: start both in the same folder.
    """
    if new and room:
        raise stop("--new makes a room: do not name another one", TOLD_WRONGLY)
    settings = settings_or_exit()
    address = _address_of(url) if url else _address(settings)
    if address is None:
        raise stop(f"--url is {url!r}: an address such as http://127.0.0.1:8787 is needed", TOLD_WRONGLY)
    token = token.strip()  # of a file, or of what was pasted
    if token and not re.fullmatch(r"[!-~]+", token):
        raise stop("--token is not one: what `greenroom token` prints is needed, without spaces", TOLD_WRONGLY)
    run_or_exit(_chat, address, token or _token(settings, user or _login()), room, new)


def _address(settings: Settings) -> str:
    """Where `serve` listens with the same settings; every interface has the loopback one among it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://[{host}]:{settings.port}" if ":" in host else f"{scheme}://{host}:{settings.port}"


def _address_of(url: str) -> str | None:
    """The same in ASCII, as sockets and HTTP want it. None: nothing can be reached by it."""
    try:
        parts = urlsplit(url)
        host, port, path = (parts.hostname or "").encode("idna").decode(), parts.port, parts.path.rstrip("/")
    except ValueError:  # a port or a name that is none, an IPv6 address without its end
        return None
    is_plain = re.fullmatch(r"[0-9a-z._:%-]+", host) and re.fullmatch(r"[!-~]*", path)
    is_more = "@" in parts.netloc or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not is_plain or is_more or port == 0:
        return None
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{'' if port is None else f':{port}'}{path}"


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise stop("this user has no name: say who to be, with --user", TOLD_WRONGLY) from None


def _token(settings: Settings, user: str) -> str:
    try:
        is_id = isinstance(subject_of(user), int)
        secret = signing_secret(settings, data_directory(settings))
    except ApiError as fault:
        raise stop(f"{user!r} cannot be a user: {fault.message}", TOLD_WRONGLY) from None
    except (StorageError, SecretUnusable, OSError) as fault:
        raise stop(str(fault), 1) from None
    now = int(time.time())
    name = {} if is_id else {"name": user}
    return jwt.encode({"sub": user, "iat": now, "exp": now + TOKEN_SECONDS, **name}, secret, algorithm="HS256")


async def _chat(url: str, token: str, room: str, new: str) -> None:
    try:
        async with open_client(url, token, device="chat") as client:
            found = await _find(client, room, new)
            if found is not None:
                with open_screen() as screen:
                    await Chat(client, screen, *found).run()
    except ClientRefused as refused:
        raise CommandFailed(_why(refused)) from None


async def _find(client: Client, room: str, new: str) -> tuple[int, str] | None:
    """The id and the title of the room that is meant; None: rooms were listed. Raises: CommandFailed, ClientRefused."""
    try:
        found = await _make(client, new) if new else await choose_room(client, room)
        return None if found is None else (room_id_of(found["id"]), in_line(title_of(found)))
    except ServerAway as away:
        what = f"{in_line(str(away))}. Start it with `make run` or `greenroom serve`, or name it: --url"
        raise CommandFailed(what) from None
    except Refused as refused:
        raise CommandFailed(_why(refused)) from None
    except (LookupError, TypeError, ValueError, AttributeError):  # of answers that are none
        raise CommandFailed(f"what answers at {client.url} is no greenroom: name another one, --url") from None


def _why(refused: Refused | ClientRefused) -> str:
    why = in_line(str(refused))
    if isinstance(refused, ClientRefused) or refused.code == 401:
        return (
            f"the server refuses us ({why}): run chat in the folder in which the server runs, "
            "or give it the same JWT_SECRET or GREENROOM_DATA_DIR, or a --token"
        )
    return why


async def _make(client: Client, title: str) -> dict[str, Any]:
    made = await client.http("POST", "/api/conversations", {"title": title, "open": True, "isGroup": True})
    conversation: dict[str, Any] = made["conversation"]
    return conversation


class Chat:
    """One room on one screen."""

    def __init__(self, client: Client, screen: Screen, room_id: int, title: str) -> None:
        self._client = client
        self._screen = screen
        self._room_id = room_id
        self._title = title
        self._parting = Parting(lambda: client.unsent)
        self._is_told_to_leave = False
        self._here: set[int] = set()  # who was shown as here
        self._names: dict[int, str] = {}
        self._before = WhatWasSaid(RECENT_MESSAGES, RECENT_PLACES)
        self._shown: dict[int, Said] = {}  # by seq, the newest
        self._typed_at = float("-inf")
        self._undelivered = 0
        self._why_undelivered = ""  # the first
        self._was_cut = False  # and this was shown
        self._has_all_come_in = False

    async def run(self) -> None:
        """Until the input ends, /quit, or Ctrl-C; the second Ctrl-C does not wait.

        Raises: CommandFailed, a group of OutputLost.
        """
        try:
            await self._run()
        except* OutputLost as lost:
            if self._has_all_come_in and self._client.unsent == 0:
                raise
            raise CommandFailed(f"{only(lost)}, and not all of what came in was said") from None
        self._raise_what_is_missing()

    async def _run(self) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._show_events)
                async with trio.open_nursery() as talk:
                    talk.start_soon(self._leave_on_signal, signals, talk.cancel_scope)
                    await self._talk()
                    talk.cancel_scope.cancel(reason="the input has ended")
                nursery.start_soon(self._leave_on_signal, signals, nursery.cancel_scope)
                await self._part()
                nursery.cancel_scope.cancel(reason="left")

    async def _leave_on_signal(self, signals: Any, scope: trio.CancelScope) -> None:
        async for _ in signals:
            if self._is_told_to_leave:
                self._client.end_now()
            self._is_told_to_leave = True
            scope.cancel(reason="told to leave")

    @property
    def _is_patient(self) -> bool:
        """Nobody sits here who could see that it takes long, or does not want to wait."""
        return not (self._screen.is_terminal or self._is_told_to_leave)

    async def _part(self) -> None:
        if self._is_patient:
            await self._parting.wait(lambda: self._parting.is_done)
        else:
            with trio.move_on_after(LEAVE_SECONDS_MAX):
                await self._client.wait_sent()

    def _raise_what_is_missing(self) -> None:
        undelivered = self._client.unsent + self._undelivered
        if undelivered:
            is_late = self._is_patient and self._client.unsent
            why = self._why_undelivered or ("the server did not take them in time" if is_late else "")
            lines = f"{undelivered} line{'s were' if undelivered > 1 else ' was'}"
            raise CommandFailed(f"{lines} not delivered{why and f': {in_line(why)}'}")
        if self._is_patient and not self._parting.is_room_shown:
            raise CommandFailed(f"{self._title} was not shown: the server did not tell in time what was said there")

    # -- what is typed ------------------------------------------------------------------------------------------

    async def _talk(self) -> None:
        await self._join()
        self._screen.on_typing = self._show_typing
        self._tell(f"in {self._title}{'; /help tells what else can be typed' if self._screen.is_typed else ''}")
        async for line in self._screen.lines():
            if isinstance(line, BadLine):
                self._not_delivered(f"line {line.number}: {line.why}", f"not sent: line {line.number} ({line.why})")
            elif self._screen.is_typed and line.startswith("/") and not line.startswith("//"):
                if line.split()[0] in ("/quit", "/exit", "/q"):
                    return
                await self._command(*line.split())
            elif line.strip() or not self._screen.is_typed:
                if self._is_patient and not await self._parting.wait(self._has_place):
                    return
                self._say(line[1:] if self._screen.is_typed and line.startswith("//") else line)
        self._has_all_come_in = True

    async def _join(self) -> None:
        try:
            with trio.move_on_after(SILENCE_SECONDS_MAX if self._is_patient else float("inf")) as scope:
                await self._client.join(self._room_id, recent=RECENT_PLACES)
        except Refused as refused:
            raise CommandFailed(f"the server refuses the room {self._title}: {in_line(str(refused))}") from None
        if scope.cancelled_caught:
            raise CommandFailed(f"the server did not let us into {self._title} within {SILENCE_SECONDS_MAX:g} s")

    def _has_place(self) -> bool:
        """A pipe waits rather than that a line is lost."""
        return self._client.unsent < LINES_MAX

    def _say(self, line: str) -> None:
        self._typed_at = float("-inf")
        try:
            self._parting.said(self._client.send(self._room_id, line))
        except OutboxFull as full:
            self._not_delivered(str(full), f"not sent: {line} ({full})")
        if not self._client.is_connected:
            self._tell(f"kept until the server is back ({self._client.unsent})")

    async def _command(self, name: str, *arguments: str) -> None:
        try:
            if name == "/who":
                await self._show_who()
            elif name == "/history":
                is_counted = arguments and re.fullmatch(r"[0-9]{1,9}", arguments[0])
                count = int(arguments[0]) if is_counted else HISTORY_MESSAGES
                for said in await self._client.history(self._room_id, max(1, count)):
                    self._screen.show(lines_of(said, self._client.url))
            else:
                self._tell(HELP if name == "/help" else f"{name} is not known. {HELP}")
        except (Refused, ServerAway) as fault:
            self._tell(f"{name}: {fault}")

    async def _show_who(self) -> None:
        answer = await self._client.http("GET", f"/api/conversations/{self._room_id}/participants")
        here = self._client.here(self._room_id) or {}
        try:
            people = [
                f"{person['name']}{' (here)' if person['userId'] in here else ''}" for person in answer["participants"]
            ]
        except (LookupError, TypeError):
            raise ServerAway(f"what answers at {self._client.url} is no greenroom") from None
        self._tell(f"{self._title}: {', '.join(people)}")

    def _show_typing(self, is_typing: bool) -> None:
        """Tell the others, at most every TYPING_SECONDS while it lasts."""
        now = trio.current_time()
        if is_typing and now - self._typed_at >= TYPING_SECONDS:
            self._typed_at = now
            self._client.typing(self._room_id, is_typing=True)
        elif not is_typing and self._typed_at > float("-inf"):
            self._typed_at = float("-inf")
            self._client.typing(self._room_id, is_typing=False)

    # -- what happens -------------------------------------------------------------------------------------------

    async def _show_events(self) -> None:
        async for event in self._client.events:
            await self._show(event)
            self._parting.heard(event)

    async def _show(self, event: Event) -> None:
        if not self._before.keeps(event):
            await self._show_before()
            self._show_now(event)

    async def _show_before(self) -> None:
        """What was said before we came, once that is over; older lines too, where the end of the log has too few."""
        if (wanted := self._before.older()) is not None:
            with suppress(Refused, ServerAway), trio.move_on_after(OLDER_SECONDS_MAX):
                for said in await self._client.history(self._room_id, *wanted):
                    self._show_message(said)
        for kept in self._before.taken():
            self._show_message(kept)

    def _show_now(self, event: Event) -> None:
        match event:
            case Said() | Changed():
                self._show_message(event)
            case Typing():
                if event.names:
                    self._tell(f"{_list_of(event.names)} type{'s' if len(event.names) == 1 else ''} …")
            case Presence():
                self._show_presence(event)
            case Member():
                self._show_member(event)
            case Connected():
                if self._was_cut:
                    self._tell("connected again")
                self._was_cut = False
            case Disconnected():
                if not event.is_expected:
                    self._was_cut = True
                    self._tell(f"{event.why}; trying again in {event.retry_seconds:.1f} s")
            case Replaced():
                self._tell("the log of this room was replaced: it begins anew")
            case Undelivered():
                self._not_delivered(event.why, f"not sent: {event.body} ({event.why})")
            case RoomRefused():
                self._tell(f"out of the room: {event.why}")

    def _show_member(self, event: Member) -> None:
        if not event.is_active and event.user_id not in (self._client.here(self._room_id) or ()):  # else: back since
            self._here -= {event.user_id}  # said once: presence tells it too
        if (name := self._names.get(event.user_id)) is not None:  # of who is new here presence tells the name
            is_what = "is an admin now" if event.role == "admin" else "is a member again"
            self._tell(f"{name} {is_what if event.is_active else 'is no member any more'}")

    def _show_presence(self, event: Presence) -> None:
        for people, word in ((event.here, "here"), (event.gone, "gone")):
            others = {person.user_id: person.name for person in people if person.user_id != self._client.user_id}
            self._names |= others
            told = {user_id: name for user_id, name in others.items() if (user_id in self._here) != (word == "here")}
            self._here = (self._here | set(others)) if word == "here" else self._here - set(others)
            if told:
                self._tell(f"{_list_of(told)} {'is' if len(told) == 1 else 'are'} {word}")

    def _show_message(self, event: Said | Changed) -> None:
        if isinstance(event, Said):
            self._names[event.sender_id] = event.sender
            self._screen.show(lines_of(event, self._client.url))
            self._shown[event.seq] = event
            if len(self._shown) > CHANGEABLE_MAX:
                self._shown.pop(next(iter(self._shown)))
        elif (said := self._shown.get(event.of)) is not None:
            self._screen.show(line_of_change(said, event))

    def _not_delivered(self, why: str, text: str) -> None:
        self._undelivered += 1
        self._why_undelivered = self._why_undelivered or why
        self._tell(text)

    def _tell(self, text: str) -> None:
        self._screen.show(f"-- {text}")


def _list_of(people: dict[int, str]) -> str:
    return ", ".join(people.values())
