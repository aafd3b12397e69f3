"""Who makes the calls of a provider queue: one sender for each call that may be under way."""

from greenroom.actors.provider_queue.commands import Finished, Transmit
from greenroom.actors.provider_queue.request import mail_from_json
from greenroom.actors.providers.provider import Fault, Mail, Outcome, Provider, Rejected, Unknown, bounded
from greenroom.runtime import Actor, handles
from greenroom.storage.postgres.outbox import OWNER_KIND, Claimed

SENDER_KIND = "provider_sender"


class ProviderSender(Actor):
    """Makes one call at a time for one account."""

    def __init__(self, account: str, provider: Provider) -> None:
        self._account = account
        self._provider = provider

    @handles(Transmit)
    async def transmit(self, command: Transmit) -> None:
        """Call the provider and tell the queue what is known."""
        outcome = await self._send(command.claimed)
        queue = self.ctx.ref(OWNER_KIND, self._account)
        await queue.wait_room()  # a result must not become a dead letter; the queue never waits for us
        self.ctx.tell(queue, Finished(command.slot, command.claimed, outcome))

    async def _send(self, claimed: Claimed) -> Outcome:
        mail = _readable(claimed)
        if isinstance(mail, Rejected):
            return mail
        try:
            return await self._provider.send(mail, claimed.attempt_id)
        except Exception as error:  # a fault of the adapter's: nobody knows how far it got
            return Unknown(bounded(f"the adapter failed: {type(error).__name__}: {error}"))


def _readable(claimed: Claimed) -> Mail | Rejected:
    try:
        return mail_from_json(claimed.request, claimed.email_id)
    except (ValueError, KeyError, TypeError) as error:
        return Rejected(Fault.CONTENT, bounded(f"the stored mail cannot be read: {error!r}"))
