"""A client of greenroom.v1 for programs: see client.py. These are its public names."""

from greenroom.client.client import Client, open_client
from greenroom.client.errors import ClientRefused, OutboxFull, Refused, ServerAway
from greenroom.client.events import (
    Confirmed,
    Connected,
    Delayed,
    Disconnected,
    Entered,
    Event,
    Member,
    Missed,
    Person,
    Personal,
    Presence,
    Receipts,
    Replaced,
    RoomRefused,
    Said,
    Typing,
    Undelivered,
)

__all__ = [
    "Client",
    "ClientRefused",
    "Confirmed",
    "Connected",
    "Delayed",
    "Disconnected",
    "Entered",
    "Event",
    "Member",
    "Missed",
    "OutboxFull",
    "Person",
    "Personal",
    "Presence",
    "Receipts",
    "Refused",
    "Replaced",
    "RoomRefused",
    "Said",
    "ServerAway",
    "Typing",
    "Undelivered",
    "open_client",
]
