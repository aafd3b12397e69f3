"""The listening sockets: bound here or taken from outside, with options that every accepted socket inherits."""

import errno
import os
import socket

import pytest
import trio

from greenroom.http import listener as listener_module
from greenroom.http.listener import (
    ListenError,
    close_listeners,
    inherited_descriptors,
    open_listeners,
)


async def accepted_from(listener):
    client = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
    served = await listener.accept()
    return client, served.socket


async def test_an_accepted_socket_has_the_options_of_its_listener():
    (listener,) = await open_listeners("127.0.0.1", 0)
    client, served = await accepted_from(listener)
    async with client, listener:
        assert served.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 64 * 1024  # Linux doubles what is asked
        assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        served.close()


async def test_the_address_can_be_bound_again_at_once_after_a_connection():
    (first,) = await open_listeners("127.0.0.1", 0)
    port = first.socket.getsockname()[1]
    client, served = await accepted_from(first)
    served.close()
    await client.aclose()
    close_listeners([first])
    close_listeners(await open_listeners("127.0.0.1", port))


async def test_a_port_in_use_is_refused_with_its_holder_and_what_to_do():
    (listener,) = await open_listeners("127.0.0.1", 0)
    port = listener.socket.getsockname()[1]
    async with listener:
        with pytest.raises(
            ListenError, match=rf"127\.0\.0\.1:{port} is in use by process {os.getpid()} .*choose another PORT"
        ):
            await open_listeners("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "words"), [("192.0.2.1", "not an address of this machine"), ("no.such.host.invalid", "does not resolve")]
)
async def test_a_host_that_cannot_be_bound_says_what_to_set_instead(host, words):
    with pytest.raises(ListenError, match=rf"{words}.*127\.0\.0\.1"):
        await open_listeners(host, 0)


async def test_all_addresses_of_a_name_share_the_port_that_the_kernel_chose():
    listeners = await open_listeners("localhost", 0)
    assert len({listener.socket.getsockname()[1] for listener in listeners}) == 1
    close_listeners(listeners)


@pytest.mark.parametrize("taken", [1, 2, 1000])
async def test_a_port_that_the_kernel_chose_and_somebody_has_at_another_address_is_chosen_again(monkeypatch, taken):
    left, bind, tried = [taken], listener_module._bind, []

    async def resolved(*_, **__):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.1", "127.0.0.2")]

    def taken_at_the_second(family, address):
        if address[0] == "127.0.0.2":
            tried.append(address[1])
            left[0] -= 1
            if left[0] >= 0:
                raise OSError(errno.EADDRINUSE, "Address already in use")
        return bind(family, address)

    monkeypatch.setattr(trio.socket, "getaddrinfo", resolved)
    monkeypatch.setattr(listener_module, "_bind", taken_at_the_second)
    if taken < listener_module.ANY_PORT_TRIES:
        listeners = await open_listeners("two", 0)
        assert [one.socket.getsockname() for one in listeners] == [("127.0.0.1", tried[-1]), ("127.0.0.2", tried[-1])]
        assert len(tried) == taken + 1
        close_listeners(listeners)
    else:
        with pytest.raises(ListenError, match="in use"):
            await open_listeners("two", 0)
        assert len(tried) == listener_module.ANY_PORT_TRIES
    with socket.socket() as holds:  # who names a port means that one
        holds.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holds.bind(("127.0.0.1", 0))
        left[0] = 1
        tried.clear()
        with pytest.raises(ListenError, match="in use"):
            await open_listeners("two", holds.getsockname()[1])
        assert tried == [holds.getsockname()[1]]


async def test_a_socket_from_outside_is_used_and_outlives_our_copy():
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        given = os.dup(outside.fileno())
        os.set_inheritable(given, True)
        (listener,) = await open_listeners("ignored.invalid", 1, inherited=[given])
        assert not os.get_inheritable(given)
        assert listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        close_listeners([listener])
        async with await trio.open_tcp_stream("127.0.0.1", port):  # waits in the backlog
            outside.accept()[0].close()


async def test_a_descriptor_that_is_no_listening_tcp_socket_is_refused_and_left_open():
    left, right = socket.socketpair()
    with (
        left,
        right,
        pytest.raises(ListenError, match=f"descriptor {left.fileno()}, which is not a listening TCP socket"),
    ):
        await open_listeners("127.0.0.1", 0, inherited=[left.fileno()])
    with left, right:
        assert left.fileno() == -1
    read, write = os.pipe()
    with pytest.raises(ListenError, match=f"descriptor {read}, which is not an open socket"):
        await open_listeners("127.0.0.1", 0, inherited=[read])
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    ("environment", "descriptors"),
    [
        ({}, []),
        ({"LISTEN_FDS": "2"}, [3, 4]),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "77"}, [3]),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "78"}, []),
        ({"LISTEN_FDS": "0"}, []),
    ],
)
def test_descriptors_are_ours_only_if_no_other_process_is_named(environment, descriptors):
    assert inherited_descriptors(environment, process_id=77) == descriptors


@pytest.mark.parametrize(
    "environment",
    [{"LISTEN_FDS": "-1"}, {"LISTEN_FDS": "one"}, {"LISTEN_FDS": "17"}, {"LISTEN_FDS": "1", "LISTEN_PID": ""}],
)
def test_a_senseless_number_of_descriptors_is_refused(environment):
    with pytest.raises(ListenError, match=r"LISTEN_(FDS|PID) is"):
        inherited_descriptors(environment, process_id=77)
