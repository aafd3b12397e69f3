"""The one place where settings, storage, actors and http meet.

    data directory ─▶ PostgreSQL (ours, or DATABASE_URL) ─▶ bridge ─▶ pool ─▶ migrations
      ─▶ committer, ids, last seen ─▶ socket engine ─▶ actors ─▶ HTTP

Each stands inside the one before, so that the end comes in the reverse order: the front first, so that nothing new is
taken; then the actors, which finish what they have; then the committer, which stores it; the database last.
"""

import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
import trio
from quart_trio import QuartTrio

from greenroom.actors import catalog
from greenroom.actors.notifier.commands import FoldNotes
from greenroom.actors.presence.commands import Look
from greenroom.actors.provider_queue.actor import provider_queue_kinds
from greenroom.actors.provider_queue.post_office import PostOffice
from greenroom.actors.providers.accounts import open_providers
from greenroom.compose_storage import Storage, open_storage
from greenroom.control.console import console_operation, why_not_attach
from greenroom.control.draining import drain_operations
from greenroom.control.operations import operations_of
from greenroom.control.server import Operations
from greenroom.http.app import OPERATIONS, make_app
from greenroom.http.auth import Authenticator
from greenroom.http.checkup import Checkup
from greenroom.http.connection import HttpLimits
from greenroom.http.development import DevelopmentGate
from greenroom.http.direct import DirectConversations
from greenroom.http.door import Door
from greenroom.http.origins import Origins, Proxies
from greenroom.http.rate_limit import SlidingWindow
from greenroom.http.rest.attachments import file_operations
from greenroom.http.rest.email import email_operations
from greenroom.http.rest.polling import polling_operations
from greenroom.http.rest.presence import presence_operations
from greenroom.http.searches import Searches
from greenroom.http.server import HttpServer, serve
from greenroom.http.services import RoomServices, Services
from greenroom.http.streams.route import stream_operations
from greenroom.http.tickets import Tickets
from greenroom.http.upgrade import SocketCaps
from greenroom.http.ws.arrivals import Arrivals
from greenroom.http.ws.codes import FORBIDDEN
from greenroom.http.ws.ends import Ends
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.http.ws.limits_told import limits_of
from greenroom.http.ws.people import People
from greenroom.http.ws.presence import SocketPresence
from greenroom.http.ws.presence_run import run_presence
from greenroom.http.ws.replay import Replayer
from greenroom.http.ws.revocation import Revocations
from greenroom.http.ws.route import Admission, add_socket_route
from greenroom.http.ws.services import SocketLimits, SocketServices, ask_for_view, typing_per_minute
from greenroom.http.ws.user_streams import SocketStreams
from greenroom.http.ws.watches import Watches
from greenroom.mail import email_settings, queue_policy
from greenroom.runtime import (
    ActorGone,
    ActorSystem,
    Inspection,
    MailboxFull,
    StorageUnavailable,
    SystemClock,
    open_system,
)
from greenroom.settings import Settings
from greenroom.storage.expiry import expire_notifications
from greenroom.storage.postgres.actor_state import PostgresStateStore
from greenroom.storage.postgres.alarms import PostgresAlarmStore
from greenroom.storage.sweep import sweep_files
from greenroom.this_machine import signing_secret

log = structlog.get_logger()

# How long each part may take to stop: 8 s in all, below the 10 s that most who stop a process allow, with what a busy
# machine and a PostgreSQL that hangs add to it.
SOCKETS_STOP_SECONDS = 2.5  # more than a compat socket that has just opened is kept for (http/ws/drain.py)
HTTP_DRAIN_SECONDS = 1.0
HTTP_STOP_SECONDS = 0.5
ACTORS_STOP_SECONDS = 3.5
STOP_SECONDS_MAX = 8.4  # when PostgreSQL is told to hurry
DESCRIPTORS_RESERVED = 512  # for HTTP and all else that is no WebSocket: files, the database, who looks in


@dataclass(frozen=True, slots=True)
class House:
    """The whole of greenroom, running."""

    settings: Settings
    storage: Storage
    system: ActorSystem
    engine: SocketEngine
    hub: Hub
    presence: SocketPresence
    sockets: SocketServices
    authenticator: Authenticator
    revocations: Revocations
    post_office: PostOffice


def log_event(name: str, error: BaseException | None = None, **facts: object) -> None:
    """The runtime's events, as log lines."""
    if name == "actor.ended":  # what it ended of has told of itself, if it is out of the ordinary
        log.debug(name, **facts)
    elif error is not None:
        log.error(name, exc_info=error, **facts)
    else:
        log.warning(name, **facts)


@asynccontextmanager
async def open_house(settings: Settings, *, migrates: bool = True) -> AsyncIterator[House]:
    """Everything but the listening sockets."""
    async with open_storage(settings, migrates=migrates) as storage, trio.open_nursery() as nursery:
        clock = SystemClock()
        engine = SocketEngine(nursery)
        hub = Hub(engine, clock)
        presence = SocketPresence(
            engine, hub, storage.last_seen, storage.visibility, clock, settings.presence_idle_seconds
        )
        streams = SocketStreams(engine, storage.user_streams, hub.blocks, hub.coming, clock)
        hub.delivery.committed_at = lambda: storage.committer.committed_at
        hub.is_hiding = presence.is_hiding
        hub.on_news, streams.on_changed = streams.news_for, hub.changed_for.note
        streams.on_hides_changed = lambda user: hub.summaries.hides_changed(user, engine.connections_of(user))
        email = email_settings(settings, storage.directory)
        async with open_providers(email, clock.wall_milliseconds) as providers:
            policy = queue_policy(email)
            kinds = [
                *provider_queue_kinds(storage.outbox, providers, policy, event=log_event),
                catalog.presence_kind(presence),
                catalog.notifier_kind(
                    storage.user_streams,
                    storage.notifications,
                    storage.blocks,
                    storage.preferences,
                    storage.conversations,
                    storage.ids,
                    streams,
                ),
                catalog.room_kind(
                    storage.conversations, storage.uploads, storage.ids, hub, settings.message_edit_seconds
                ),
            ]
            async with open_system(
                kinds,
                committer=storage.committer,
                alarms=PostgresAlarmStore(storage.postgres),
                states=PostgresStateStore(storage.postgres),
                clock=clock,
                event=log_event,
                stop_seconds_max=ACTORS_STOP_SECONDS,
            ) as system:
                authenticator = Authenticator(
                    users=storage.users,
                    sessions=storage.sessions,
                    api_keys=storage.api_keys,
                    jwt_secret=signing_secret(settings, storage.directory),
                    cookie_secret=(
                        settings.better_auth_secret.get_secret_value().encode()
                        if settings.better_auth_secret is not None
                        else None
                    ),
                )
                hub.summaries.ask = partial(ask_for_view, system, hub.blocks)
                streams.on_notes = partial(_fold_notes, system)
                sockets = _socket_services(settings, storage, system, engine, hub, presence, streams, authenticator)
                authenticator.on_user_read = sockets.people.changed
                revocations = Revocations(
                    engine.credentials, storage.sessions, storage.api_keys, authenticator, system.clock
                )
                ends = Ends(
                    storage.postgres,
                    storage.users,
                    engine,
                    authenticator,
                    revocations,
                    storage.visibility,
                    presence,
                    lambda user_id: sockets.tell_presence(user_id, Look()),
                )
                post_office = PostOffice(storage.outbox, system, policy)
                storage.visibility.on_found = partial(_look_if_here, sockets)
                presence_task = partial(run_presence, sockets)
                sweep = partial(sweep_files, storage.uploads, clock)
                tasks = (
                    sweep,
                    partial(expire_notifications, storage.notifications, clock, streams.news_for),
                    engine.run,
                    presence_task,
                    hub.summaries.run,
                    hub.overdue.run,
                    hub.receipts.run,
                    revocations.run,
                    ends.run,
                    post_office.run,
                )
                for task in tasks:
                    nursery.start_soon(task)
                try:
                    people = (sockets, authenticator, revocations)
                    yield House(settings, storage, system, engine, hub, presence, *people, post_office)
                finally:
                    post_office.drain()
        nursery.cancel_scope.cancel(reason="greenroom stops")


def _fold_notes(system: ActorSystem, user_id: int, is_coming: bool) -> bool:
    """False: the notifier's mailbox is full."""
    try:
        system.ref("notifier", user_id).tell(FoldNotes(is_of_coming=is_coming))
    except MailboxFull:
        return False
    except ActorGone:
        return True  # the system stops: the next start reads them
    return True


def _look_if_here(sockets: SocketServices, user_id: int) -> None:
    """Many may be found at once, and few of them be here."""
    if sockets.engine.of_user(user_id) or sockets.presence.is_online(user_id):
        sockets.tell_presence(user_id, Look())


def _socket_services(
    settings: Settings,
    storage: Storage,
    system: ActorSystem,
    engine: SocketEngine,
    hub: Hub,
    presence: SocketPresence,
    streams: SocketStreams,
    authenticator: Authenticator,
) -> SocketServices:
    return SocketServices(
        engine=engine,
        hub=hub,
        replayer=Replayer(engine, hub, storage.conversations),
        streams=streams,
        users=storage.users,
        notifications=storage.notifications,
        reports=storage.reports,
        summaries=hub.summaries,
        presence=presence,
        watches=Watches(engine, hub, presence, storage.last_seen, storage.visibility.may_see),
        system=system,
        conversations=storage.conversations,
        direct=DirectConversations(
            storage.users, storage.conversations, storage.blocks, storage.ids, hub, engine, system.clock
        ),
        searches=Searches(storage.search, hub),
        last_seen=storage.last_seen,
        authenticator=authenticator,
        people=People(engine, presence, storage.users),
        arrivals=Arrivals(engine, hub, storage.last_seen),
        limits=SocketLimits(
            messages=SlidingWindow(settings.messages_per_minute),
            commands=SlidingWindow(settings.ws_commands_per_minute),
            typing=SlidingWindow(typing_per_minute(settings.ws_commands_per_minute)),
            compat_ping_seconds=settings.ws_heartbeat_interval / 1000,
            compat_silence_seconds=settings.ws_connection_timeout / 1000,
        ),
        clock=system.clock,
        node=socket.gethostname(),
        connections_per_user_max=settings.ws_max_per_user,
        setting_limits=limits_of(settings),
    )


def compose_app(house: House, port: int) -> tuple[QuartTrio, DevelopmentGate]:
    """The HTTP application over the house, and the gate of its development-only things. port: the one listened on."""
    settings, storage = house.settings, house.storage
    development = DevelopmentGate(settings)
    tickets, origins = Tickets(), Origins.from_settings(settings, port)
    proxies = Proxies(settings.trusted_proxies)
    services = Services(
        settings=settings,
        users=storage.users,
        sessions=storage.sessions,
        authenticator=house.authenticator,
        tickets=tickets,
        origins=origins,
        proxies=proxies,
        development=development,
        checkup=Checkup(
            {
                "database": storage.committer.probe,
                "messaging": partial(_check_messaging, house.system),
                "email": partial(_check_email, house.post_office),
            }
        ),
        on_session_ended=partial(_close_session, house.sockets),
        on_signed_out=partial(_close_user, house.sockets),
        on_input=house.sockets.note_input,
        on_user_changed=house.sockets.people.changed,
        on_user_perhaps_changed=house.sockets.people.perhaps_changed,
        is_moving=house.engine.drain.is_moving,
        rooms=RoomServices(
            system=house.system,
            conversations=storage.conversations,
            direct=house.sockets.direct,
            searches=house.sockets.searches,
            notifications=storage.notifications,
            blocks=storage.blocks,
            preferences=storage.preferences,
            ids=storage.ids,
            hub=house.hub,
            reports=storage.reports,
            messages=house.sockets.limits.messages,
            commands=house.sockets.limits.commands,
            engine=house.engine,
            committer=storage.committer,
            postgres=storage.postgres,
            post_office=house.post_office,
            mail_directory=storage.directory / "mail",
        ),
    )
    caps = SocketCaps(_sockets_max(settings), settings.ws_max_per_user, settings.sockets_per_address_max)
    door = Door(settings.ws_connects_per_second, house.engine.drain.is_stopping)
    sockets = house.sockets
    live = (stream_operations(sockets, caps, door), presence_operations(sockets), polling_operations(sockets))
    files = file_operations(settings, storage.uploads, storage.directory)
    app = make_app(services, [*OPERATIONS, email_operations(house.post_office), *live, *files])
    add_socket_route(app, sockets, Admission(tickets, origins, proxies, caps, door, settings.ws_compression))
    return app, development


def _sockets_max(settings: Settings) -> int:
    """WS_MAX_CONNECTIONS, as far as the system gives descriptors: others need some too."""
    descriptors, reserved = _descriptors()
    possible = descriptors - reserved
    if possible < settings.ws_max_connections:
        log.info("sockets.bounded", possible=possible, wanted=settings.ws_max_connections)
    return min(settings.ws_max_connections, possible)


def _http_limits() -> HttpLimits:
    """HTTP takes what no WebSocket has, but for half of what none may have: or who asks nothing takes the last one."""
    descriptors, reserved = _descriptors()
    return HttpLimits(descriptors_max=descriptors - reserved // 2)


def _descriptors() -> tuple[int, int]:
    """How many the system gives us, and how many of those no WebSocket may have."""
    try:
        import resource
    except ImportError:
        return sys.maxsize, 0
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return descriptors, min(DESCRIPTORS_RESERVED, descriptors - descriptors // 2)


async def _check_messaging(system: ActorSystem) -> None:
    """Rooms can be woken: storage is there as far as the actors know."""
    await trio.lowlevel.checkpoint()
    if system.storage.is_away:
        raise StorageUnavailable("the actors wait for storage")


async def _check_email(post_office: PostOffice) -> None:
    """At least one account works."""
    health = await post_office.health()
    if health["status"] == "unhealthy":
        raise StorageUnavailable("no e-mail account works")


def _close_session(sockets: SocketServices, session_id: str) -> None:
    """A session was ended: its sockets end with it, and who said under it that they are here is so no more."""
    for connection in sockets.engine.connections_of_session(session_id):
        connection.close(FORBIDDEN)
    user_id = sockets.presence.leases.user_under(session_id)
    if user_id is not None:
        sockets.presence.leases.forget(user_id, session_id)
        sockets.tell_presence(user_id, Look())


def _close_user(sockets: SocketServices, user_id: int) -> None:
    """A user signed out everywhere: whatever is open for them ends, by whichever credential; nobody polls for them."""
    for connection in tuple(sockets.engine.connections_of(user_id)):
        connection.close(FORBIDDEN)
    sockets.presence.leases.forget(user_id, None)
    sockets.tell_presence(user_id, Look())


def control_of(house: House) -> Callable[[], Operations]:
    """What the control socket of *house* can be asked, of each connection."""
    system, settings = house.system, house.settings
    why_not = why_not_attach(
        environment=settings.environment,
        is_development=settings.is_development,
        is_loopback=settings.is_loopback,
        host=settings.host,
    )
    names = {"house": house, "system": system, "ref": system.ref, "service": system.service, "look": Inspection(system)}
    drain = house.engine.drain
    moving = drain_operations(drain)
    look = operations_of(system, drain, house.engine.outboxes, house.hub.delivery)
    return lambda: {**look, **moving, "attach": console_operation(dict(names), why_not)}


@asynccontextmanager
async def open_front(
    house: House, app: Any, listeners: list[trio.SocketListener], tls: ssl.SSLContext | None = None
) -> AsyncIterator[HttpServer]:
    """Serve HTTP and WebSocket while the block lasts; then say goodbye to every socket and finish every answer."""
    async with trio.open_nursery() as nursery:
        server: HttpServer = await nursery.start(partial(serve, app, listeners, limits=_http_limits(), tls=tls))
        try:
            yield server
        finally:
            server.stop_accepting()
            if house.storage.embedded is not None:
                house.storage.embedded.stop_by = trio.current_time() + STOP_SECONDS_MAX
            with trio.move_on_after(SOCKETS_STOP_SECONDS, shield=True):
                await house.engine.drain.stop()
            with trio.move_on_after(HTTP_DRAIN_SECONDS, shield=True):
                await server.drain()
            with trio.move_on_after(HTTP_STOP_SECONDS, shield=True):
                await server.aclose()
