"""What a house does by itself when it begins: until then not only what a test asks for is on its way to storage."""

from wire import wait_until

from greenroom.actors.provider_queue.actor import QUEUE_KIND
from greenroom.actors.providers.accounts import FOLDER
from greenroom.runtime import Address


async def first_look_is_over(house):
    """Wait until the queue of mail has looked for some, and lies still."""
    mail = Address(QUEUE_KIND, FOLDER)

    def missing():
        cell = house.house.system.activations.get(mail)
        return None if cell is not None and cell.turns > 1 and cell.is_quiet else "the first look for mail"

    await wait_until(missing)
