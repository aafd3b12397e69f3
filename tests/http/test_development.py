"""The gate before development-only things: all conditions, or nothing is there."""

import pytest
from werkzeug.datastructures import Headers

from greenroom.http.development import KEY_COOKIE, DevelopmentGate
from greenroom.settings import Settings

KEY = "the-key-of-this-start"
LOCAL = {"Host": "localhost:8787"}


def gate(**settings: object) -> DevelopmentGate:
    return DevelopmentGate(Settings(**{"environment": "development", **settings}), KEY)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["localhost", "localhost:8787", "127.0.0.1:1", "[::1]", "[::1]:8787", "LOCALHOST"])
def test_it_opens_with_the_key_in_the_link_or_in_the_cookie(host: str):
    assert gate().allows(Headers({"Host": host}), KEY, {})
    assert gate().allows(Headers({"Host": host}), None, {KEY_COOKIE: KEY})


@pytest.mark.parametrize("environment", ["production", "staging", "test"])
def test_only_in_development(environment: str):
    assert not gate(environment=environment).allows(Headers(LOCAL), KEY, {KEY_COOKIE: KEY})


@pytest.mark.parametrize("settings", [{"host": "0.0.0.0"}, {"host": "192.0.2.1"}, {"host": ""}, {"listen_fds": 1}])
def test_only_on_a_loopback_listener(settings: dict[str, object]):
    assert not gate(**settings).allows(Headers(LOCAL), KEY, {})


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "localhost.evil.example", "evil.example:8787", "127.0.0.1.evil.example", "localhost:x",
     "[::2]", "0.0.0.0", "127.0.0.2", "user@localhost", "localhost:8787:1"],
)  # fmt: skip
def test_only_for_a_host_that_is_this_machine(host: str | None):
    assert not gate().allows(Headers({"Host": host} if host is not None else {}), KEY, {})


@pytest.mark.parametrize(
    "name", ["Forwarded", "forwarded", "X-Forwarded-For", "x-forwarded-host", "X-Forwarded-Anything"]
)
def test_not_through_a_proxy(name: str):
    assert not gate().allows(Headers({**LOCAL, name: "127.0.0.1"}), KEY, {})


@pytest.mark.parametrize("key", [None, "", "guess", KEY[:-1], KEY + "x", "ä", "\udcff"])
def test_not_without_the_key(key: str | None):
    assert not gate().allows(Headers(LOCAL), key, {})
    assert not gate().allows(Headers(LOCAL), None, {} if key is None else {KEY_COOKIE: key})


def test_the_key_is_new_at_each_start_and_has_128_bits():
    first, second = (DevelopmentGate(Settings()) for _ in range(2))
    assert first.key != second.key
    assert len(first.key) == 22


def test_the_link_to_print_carries_the_key():
    assert gate().link("http://127.0.0.1:8787") == f"http://127.0.0.1:8787/?key={KEY}"
