"""The ranks of a large room: the sockets that are told the same at the same time, and nothing else of them.

    stray ──live, clear, as far as the ranks──▶ in the ranks ──is written to, replays, blocks, leaves──▶ stray

Whoever stands in the ranks is live, has nothing waiting in its outbox, and was given everything up to one `seq` that
all of them share. So a walk needs their descriptors and looks at no connection: at a message now and then those are
cold, and looking at a thousand of them took as long as the twentieth part of all that the kernel does to send. A socket
falls out before it is closed, for the next one that is opened has its number. When what they are being told changes in
the midst of a walk all of them fall out: whoever was not reached is told what is right then.
"""

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenroom.http.ws.channel import Attachment


class Ranks:
    """Of one room. seq: what all were given; those at a place below *walked* were given *reached*, by a walk under way.

    fds: of the sockets, by place; -1 where somebody fell out.
    """

    __slots__ = ("_free", "_members", "fds", "reached", "seq", "strays", "walked")

    def __init__(self) -> None:
        self.fds: array[int] = array("i")
        self._members: list[Attachment | None] = []
        self._free: list[int] = []
        self.strays: dict[Attachment, None] = {}
        self.seq = self.reached = self.walked = 0

    def __len__(self) -> int:
        return len(self.fds) - len(self._free)

    def fall_in(self, attachment: "Attachment") -> None:
        """Take a stray that is live, clear, rankable and at *seq*. Not while a walk is under way."""
        assert attachment.connection.may_fall_in, "only an open, plain socket can be told what all are, and no more"
        del self.strays[attachment]
        attachment.place = len(self.fds)
        if self._free:
            attachment.place = self._free.pop()
            self.fds[attachment.place] = attachment.connection.fd
            self._members[attachment.place] = attachment
        else:
            self.fds.append(attachment.connection.fd)
            self._members.append(attachment)
        attachment.connection.ranked += (attachment,)

    def fall_out(self, attachment: "Attachment") -> None:
        """Let one go, who is a stray again at the seq that it was given."""
        place, attachment.place = attachment.place, -1
        attachment.seq = self.reached if place < self.walked else self.seq
        self.fds[place], self._members[place] = -1, None
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
        self.fds, self._members, self._free = array("i"), [], []

    def close_up(self) -> None:
        """Forget the places where somebody fell out, when they are many. Not while a walk is under way."""
        if len(self._free) <= len(self.fds) // 4:
            return
        members = [member for member in self._members if member is not None]
        for place, member in enumerate(members):
            member.place = place
        self._members = list(members)
        self.fds = array("i", [member.connection.fd for member in members])
        self._free = []
