"""What the PostgreSQL of a server process is asked, as it writes it down itself.

questions = Questions(server)
await questions.begin()
...
questions.forget()
...                         # what is to be counted
questions.asked()           # Counter({"-- How far the streams of users are": 3, …})
"""

import re
from collections import Counter

from server_process import ServerProcess  # type: ignore[import-not-found]

LOGGING = {"log_statement": "'all'", "log_parameter_max_length": "0", "log_duration": "off"}
STATEMENT = re.compile(r"^[-0-9]{10} \S+ UTC \[\d+\] LOG:  (?:execute [^:]+|statement): ", re.MULTILINE)


class Questions:
    """From `forget` on."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._log = server.data / "postgres" / "server.log"
        self._from = 0

    async def begin(self) -> None:
        """From here on all is written down."""
        for name, value in LOGGING.items():
            await self._server.query(f"alter system set {name} = {value}")
        await self._server.query("select pg_reload_conf()")

    def forget(self) -> None:
        """What was asked up to now."""
        self._from = self._log.stat().st_size

    def asked(self) -> Counter[str]:
        """Since then, how often by the first words: all but what stores something new."""
        with self._log.open("rb") as log:
            log.seek(self._from)
            statements = STATEMENT.split(log.read().decode(errors="replace"))[1:]
        kinds = (text for text in statements if "insert into" not in text.lower())
        return Counter(" ".join(text.split())[:60] for text in kinds)
