"""A port that stays a server's while none runs: between two servers no other program is given it.

    kept = keep_a_port()
    kept.getsockname()[1]     # the port, for PORT
    kept.close()

The socket is bound and never listens, so that whoever connects while no server runs is refused. A server listens there
all the same: both say SO_REUSEADDR, for which a port that is asked for by its number may be shared.
"""

import socket


def keep_a_port() -> socket.socket:
    """Of 127.0.0.1, until it is closed."""
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return kept
