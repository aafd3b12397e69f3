"""TLS in process: what the files must be, a transport that keeps a socket's word, and handshakes that never end."""

import random
import socket
import ssl
import subprocess
import sys
import warnings
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from quart import request
from quart_trio import QuartTrio
from tls_files import TlsFiles, make_tls_files
from tls_pair import connected, read_some

from greenroom.http.connection import HttpLimits, Overdue
from greenroom.http.listener import close_listeners, open_listeners
from greenroom.http.server import serve
from greenroom.http.tls import RECORD_BYTES_MAX, UNREAD_BYTES_MAX, TlsUnusable, tls_context

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return make_tls_files(tmp_path)


# -- the files ----


def test_neither_file_is_no_tls() -> None:
    assert tls_context(None, None) is None


def test_one_file_without_the_other_is_refused_with_the_name_of_the_missing(files: TlsFiles) -> None:
    with pytest.raises(TlsUnusable, match="TLS_KEY is not set, and TLS_CERT is"):
        tls_context(files.certificate, None)
    with pytest.raises(TlsUnusable, match="TLS_CERT is not set, and TLS_KEY is"):
        tls_context(None, files.key)


def encrypted(path: Path) -> None:
    key = form.load_pem_private_key(path.read_bytes(), None)
    how = form.BestAvailableEncryption(b"secret")
    path.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, how))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no certificate file", r"TLS_CERT is '.*chain.pem', which cannot be read \(No such file or directory\): give"),
        ("no key file", r"TLS_KEY is '.*key.pem', which cannot be read \(No such file or directory\): give"),
        ("a folder", r"TLS_CERT is '.*', which cannot be read \(Is a directory\): give"),
        ("a certificate that is none", r"TLS_CERT '.*' holds no certificate in PEM: give the chain"),
        ("a key that is none", r"TLS_KEY '.*' holds no private key in PEM: give the one"),
        ("an empty key", r"TLS_KEY '.*' holds no private key in PEM: give the one"),
        ("a broken certificate", r"TLS_CERT '.*' and TLS_KEY '.*' cannot be used together \("),
        ("the two exchanged", r"TLS_CERT '.*' holds no certificate in PEM: give the chain"),
        ("the key of another", r"TLS_KEY '.*' is not the key of TLS_CERT '.*': give two that belong together"),
        ("a key with a password", r"TLS_KEY '.*' is encrypted: give one without a password"),
    ],
)
def test_files_that_cannot_be_used_are_refused_with_what_to_do(files: TlsFiles, tmp_path: Path, what: str, said: str):
    certificate, key = files.certificate, files.key
    if what == "no certificate file":
        certificate.unlink()
    elif what == "no key file":
        key.unlink()
    elif what == "a folder":
        certificate = tmp_path
    elif what == "a certificate that is none":
        certificate.write_bytes(b"\x00\xff" * 100)
    elif what == "a key that is none":
        key.write_text("not a key")
    elif what == "an empty key":
        key.write_bytes(b"")
    elif what == "a broken certificate":
        certificate.write_text("-----BEGIN CERTIFICATE-----\nabcd\n-----END CERTIFICATE-----\n")
    elif what == "the two exchanged":
        certificate, key = key, certificate
    elif what == "the key of another":
        (tmp_path / "other").mkdir()
        key = make_tls_files(tmp_path / "other").key
    else:
        encrypted(key)
    with pytest.raises(TlsUnusable, match=said):
        tls_context(certificate, key)


def test_serve_says_so_at_its_start_and_ends(files: TlsFiles, tmp_path: Path) -> None:
    given = {"TLS_CERT": str(files.certificate), "GREENROOM_DATA_DIR": str(tmp_path / "data"), "PORT": "0"}
    command = [sys.executable, "-m", "greenroom", "serve"]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "TLS_KEY is not set, and TLS_CERT is: set both for https, or neither for http" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists(), "nothing was begun"


# -- the transport ----


def test_what_is_taken_arrives_once_and_in_order_however_little_the_kernel_takes(files: TlsFiles, seed: int) -> None:
    """As the outbox does it: what was not taken comes first the next time, with more behind it."""
    chance = random.Random(seed)
    server, client = connected(files, buffer=4608)
    wanted, received, rest = bytearray(), bytearray(), bytearray()
    partial_takes = refusals = 0
    while len(wanted) < 2_000_000 or rest:
        if len(wanted) < 2_000_000 and chance.random() < 0.3:
            more = chance.randbytes(chance.choice((1, 10, 1000, 20_000, 70_000)))
            wanted += more
            rest += more
        if rest:
            try:
                taken = server.send(bytes(rest[: 256 * 1024]))
            except BlockingIOError:
                refusals += 1
            else:
                assert 0 < taken <= len(rest)
                partial_takes += taken < len(rest)
                del rest[:taken]
        if chance.random() < 0.5:
            received += read_some(client, chance.choice((100, 5000, 65536)))
    while len(received) < len(wanted):
        received += read_some(client, 65536)
    assert received == wanted
    assert partial_takes > 50
    assert refusals > 50
    client.close()
    server.close()


def test_bytes_are_taken_only_when_the_kernel_has_them(files: TlsFiles) -> None:
    server, client = connected(files, buffer=4608)
    data, taken = bytes(1_000_000), 0
    with suppress(BlockingIOError):
        while True:
            taken += server.send(data[taken:])
    received = 0
    while part := read_some(client, 65536):
        received += len(part)
    assert taken - RECORD_BYTES_MAX < received <= taken  # of the record that is cut, all that is out but for its end
    client.close()
    server.close()


def test_one_call_reads_what_one_read_of_the_kernel_has_and_no_more(files: TlsFiles) -> None:
    """Whatever is in there: OpenSSL by itself would go on for as long as there are records without data."""
    server, client = connected(files)
    client.setblocking(True)
    for number in range(64):
        client.send(bytes([number]) * 1000)
    parts = []
    with suppress(BlockingIOError):
        while True:
            parts.append(server.recv(8192))
    assert b"".join(parts) == b"".join(bytes([number]) * 1000 for number in range(64))
    assert max(map(len, parts)) <= 8192
    assert len(parts) >= 8
    client.close()
    server.close()


def test_a_half_close_is_told_after_everything_and_what_comes_then_is_only_counted(files: TlsFiles) -> None:
    server, client = connected(files)
    server.send(b"last words")
    server.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b"last words"
    assert client.recv(100) == b""  # close_notify, or it would raise
    client.send(b"still here")
    assert len(server.recv(100)) > len(b"still here")
    client.close()
    assert server.recv(100) == b""
    server.close()
    assert server.fileno() == -1


def test_the_end_of_the_peer_is_an_end_with_close_notify_and_without(files: TlsFiles) -> None:
    for told in (True, False):
        server, client = connected(files)
        read_some(client, 100)  # the tickets of TLS 1.3: closing over them would be a reset
        client.send(b"bye")
        if told:
            with suppress(ssl.SSLError):
                client.unwrap()
        client.close()
        assert server.recv(100) == b"bye"
        assert server.recv(100) == b""
        server.close()


def test_bytes_that_were_changed_on_the_way_are_an_error_of_the_world(files: TlsFiles) -> None:
    server, client = connected(files)
    raw = socket.socket(fileno=client.detach())
    raw.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(OSError, match=r"(?i)mac"):
        server.recv(100)
    raw.close()
    server.close()


class KeyUpdates:
    """Records of TLS 1.3 by hand (RFC 8446 sections 5.2, 7.2, 7.3): the client's side of one connection, which only
    changes its keys. Python's ssl cannot send such."""

    def __init__(self, files: TlsFiles, folder: Path) -> None:
        log = folder / "keys.log"
        files.client.keylog_filename = str(log)
        self.server, client = connected(files)
        assert (client.cipher() or ("",))[0] == "TLS_AES_256_GCM_SHA384"
        (secret,) = (line.split()[2] for line in log.read_text().splitlines() if "CLIENT_TRAFFIC_SECRET_0" in line)
        self._secret, self._sequence = bytes.fromhex(secret), 0
        self.sock = socket.socket(fileno=client.detach())

    def _expand(self, label: bytes, size: int) -> bytes:
        info = size.to_bytes(2, "big") + bytes([6 + len(label)]) + b"tls13 " + label + b"\x00"
        return HKDFExpand(hashes.SHA384(), size, info).derive(self._secret)

    def record(self, content: bytes, kind: int) -> bytes:
        """One record of this content type."""
        nonce = int.from_bytes(self._expand(b"iv", 12), "big") ^ self._sequence
        self._sequence += 1
        head = b"\x17\x03\x03" + (len(content) + 17).to_bytes(2, "big")
        cipher = AESGCM(self._expand(b"key", 32))
        return head + cipher.encrypt(nonce.to_bytes(12, "big"), content + bytes([kind]), head)

    def update(self, *, asks: bool) -> bytes:
        """A KeyUpdate; asks: the server is to change its own as well."""
        record = self.record(b"\x18\x00\x00\x01" + bytes([asks]), 22)
        self._secret, self._sequence = self._expand(b"traffic upd", 48), 0
        return record


def test_a_flood_of_key_updates_is_read_in_pieces_like_everything_else(files: TlsFiles, tmp_path: Path) -> None:
    updates = KeyUpdates(files, tmp_path)
    flood = b"".join(updates.update(asks=False) for _ in range(2000)) + updates.record(b"data", 23)
    updates.sock.send(flood)
    refusals = 0
    while True:
        try:
            assert updates.server.recv(8192) == b"data"
            break
        except BlockingIOError:  # its turn is over, and there was nothing in it for anybody
            refusals += 1
    assert refusals >= len(flood) // 8192
    updates.sock.close()
    updates.server.close()


def ask_for_ever(updates: KeyUpdates, held: list[int]) -> None:
    for _ in range(100_000):
        updates.sock.send(updates.update(asks=True))
        with suppress(BlockingIOError):
            updates.server.recv(8192)
        held.append(len(updates.server._ciphertext))


def test_who_asks_for_new_keys_for_ever_and_reads_none_is_let_go(files: TlsFiles, tmp_path: Path) -> None:
    updates, held = KeyUpdates(files, tmp_path), list[int]()
    with pytest.raises(ConnectionAbortedError):
        ask_for_ever(updates, held)
    assert 0 < max(held) <= UNREAD_BYTES_MAX
    updates.sock.close()
    updates.server.close()


# -- the server ----


@asynccontextmanager
async def open_https(files: TlsFiles, **limits: Any):
    app = QuartTrio("https")

    @app.route("/", methods=["GET", "POST"])
    async def index():
        return {"scheme": request.scheme, "size": len(await request.get_data())}

    @app.get("/large")
    async def large():
        return bytes(3_000_000)

    listeners = await open_listeners("127.0.0.1", 0)
    tls = tls_context(files.certificate, files.key)
    async with trio.open_nursery() as nursery:
        run = partial(serve, app, listeners, limits=HttpLimits(**limits), tls=tls)
        server = await nursery.start(run)
        yield server, listeners[0].socket.getsockname()[1]
        with trio.fail_after(5):
            await server.aclose()
    close_listeners(listeners)


async def open_stream(port: int, context: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
    stream = trio.SSLStream(
        await trio.open_tcp_stream("127.0.0.1", port), context, server_hostname="127.0.0.1", https_compatible=True
    )
    await stream.do_handshake()
    return stream


async def read_to_end(stream) -> bytes:
    received = b""
    with trio.fail_after(5), suppress(trio.BrokenResourceError):
        while data := await stream.receive_some():
            received += data
    return received


async def test_http_is_https_with_bodies_and_answers_of_any_size(files: TlsFiles) -> None:
    async with open_https(files) as (server, port):
        stream = await open_stream(port, files.client)
        assert stream.selected_alpn_protocol() == "http/1.1"
        assert stream.version() == "TLSv1.3"
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n"
        await stream.send_all(head + bytes(500_000))
        answer = b""
        while b"500000}" not in answer:
            answer += await stream.receive_some()
        assert b'"scheme":"https"' in answer
        await stream.send_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await read_to_end(stream)).partition(b"\r\n\r\n")[2] == bytes(3_000_000)
        assert server.statistics().faults_guarded == 0


async def test_tls_1_2_is_spoken_and_1_1_is_not(files: TlsFiles) -> None:
    async with open_https(files) as (server, port):
        files.client.maximum_version = ssl.TLSVersion.TLSv1_2
        stream = await open_stream(port, files.client)
        await stream.send_all(GET)
        assert b"200" in await read_to_end(stream)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with warnings.catch_warnings(action="ignore"):
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(trio.BrokenResourceError):
            await open_stream(port, old)
        assert server.statistics().faults_guarded == 0


@pytest.mark.parametrize("said", [GET, b"\x16\x03\x01\xff\xff" + b"x" * 300, b"\x00" * 100, b""])
async def test_who_does_not_speak_tls_is_let_go_and_is_no_fault(files: TlsFiles, said: bytes) -> None:
    async with open_https(files) as (server, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(said)
        await stream.send_eof()
        answer = await read_to_end(stream)
        assert b"200" not in answer
        good = await open_stream(port, files.client)
        await good.send_all(GET)
        assert b"200" in await read_to_end(good)
        assert server.statistics().faults_guarded == 0


@pytest.mark.parametrize("pace_seconds", [None, 0.02])
async def test_a_handshake_that_does_not_end_is_cut_however_busy_it_seems(files: TlsFiles, pace_seconds) -> None:
    hello = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        files.client.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="127.0.0.1").do_handshake()
    async with open_https(files, handshake_seconds_max=0.3) as (server, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        began = trio.current_time()
        with suppress(trio.BrokenResourceError):
            for octet in hello.read()[:-1]:
                await stream.send_all(bytes([octet]))
                if trio.current_time() - began > 3:
                    break
                if pace_seconds is not None:
                    await trio.sleep(pace_seconds)
        assert await read_to_end(stream) == b""
        assert trio.current_time() - began < 3
        assert server.statistics().swept == {Overdue.HANDSHAKE: 1}
        assert server.statistics().connections_open == 0


async def test_an_idle_connection_is_swept_by_the_limits_of_http(files: TlsFiles) -> None:
    async with open_https(files, idle_seconds_max=0.2) as (server, port):
        stream = await open_stream(port, files.client)
        assert await read_to_end(stream) == b""
        assert server.statistics().swept == {Overdue.IDLE: 1}


async def test_a_body_that_is_refused_does_not_take_the_answer_back(files: TlsFiles) -> None:
    async with open_https(files) as (server, port):
        stream = await open_stream(port, files.client)
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: a b\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))
        assert (await read_to_end(stream)).startswith(b"HTTP/1.1 400 ")
        assert server.statistics().faults_guarded == 0
