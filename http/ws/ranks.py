"""The ranks of a large room: the sockets that are told the same at the same time, and nothing else of them.

    stray ──live, clear, as far as the ranks──▶ in the ranks ──is written to, replays, blocks, leaves──▶ stray

Whoever stands in the ranks is live, has nothing waiting in its outbox, and was given everything up to one `seq` that
all of them share. So a walk needs their sockets and looks at no connection: at a message now and then those are cold,
and looking at a thousand of them took as long as the twentieth part of all that the kernel does to send. When what they
are being told changes in the midst of a walk all of them fall out: whoever was not reached is told what is right then.
"""

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenroom.http.ws.channel import Attachment


class Ranks:
    """Of one room. seq: what all were given; those at a place below *walked* were given *reached*, by a walk under way.

    sockets: by place; None where somebody fell out.
    """

    __slots__ = ("_free", "_members", "reached", "seq", "sockets", "strays", "walked")

    def __init__(self) -> None:
        self.sockets: list[socket.socket | None] = []
        self._members: list[Attachment | None] = []
        self._free: list[int] = []
        self.strays: dict[Attachment, None] = {}
        self.seq = self.reached = self.walked = 0

    def __len__(self) -> int:
        return len(self.sockets) - len(self._free)

    def fall_in(self, attachment: "Attachment") -> None:
        """Take a stray that is live, clear, rankable and at *seq*. Not while a walk is under way."""
        del self.strays[attachment]
        attachment.place = len(self.sockets)
        if self._free:
            attachment.place = self._free.pop()
            self.sockets[attachment.place] = _socket_of(attachment)
            self._members[attachment.place] = attachment
        else:
            self.sockets.append(_socket_of(attachment))
            self._members.append(attachment)
        attachment.connection.ranked += (attachment,)

    def fall_out(self, attachment: "Attachment") -> None:
        """Let one go, who is a stray again at the seq that it was given."""
        place, attachment.place = attachment.place, -1
        attachment.seq = self.reached if place < self.walked else self.seq
        self.sockets[place] = self._members[place] = None
        self._free.append(place)
        self.strays[attachment] = None
        connection = attachment.connection
        connection.ranked = tuple(other for other in connection.ranked if other is not attachment)

    def leave(self, attachment: "Attachment") -> None:
        """Forget somebody who left the room."""
        attachment.fall_out()
        self.strays.pop(attachment, None)

    def disband(self) -> None:
        """Let all go: the room is told one by one again, or replays from storage."""
        for attachment in [member for member in self._members if member is not None]:
            self.fall_out(attachment)
        self.sockets, self._members, self._free = [], [], []

    def close_up(self) -> None:
        """Forget the places where somebody fell out, when they are many. Not while a walk is under way."""
        if len(self._free) <= len(self.sockets) // 4:
            return
        members = [member for member in self._members if member is not None]
        for place, member in enumerate(members):
            member.place = place
        self._members = list(members)
        self.sockets = [_socket_of(member) for member in members]
        self._free = []


def _socket_of(attachment: "Attachment") -> socket.socket:
    sock = attachment.connection.sock
    assert isinstance(sock, socket.socket), "only a plain socket can be told what all are, and no more"
    return sock
