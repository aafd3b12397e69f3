"""Where a request comes from: pages and proxies."""

import pytest
from werkzeug.datastructures import Headers

from greenroom.http.errors import ApiError
from greenroom.http.origins import Origins, Proxies, cookie_attributes, is_json, origin_of
from greenroom.settings import load_settings

PAGE = "https://app.example.org"


def origins(**environment: str) -> Origins:
    return Origins.from_settings(load_settings(environment))


def test_by_default_our_own_pages_and_the_front_end_are_listed():
    listed = origins(FRONTEND_URL=f"{PAGE}/login?x=1").listed
    assert listed == {PAGE, "http://localhost:8787", "http://127.0.0.1:8787", "http://[::1]:8787"}


def test_in_development_the_usual_page_servers_are_listed_too():
    added = origins(ENVIRONMENT="development").listed - origins().listed
    assert added == {f"http://{host}:{port}" for host in ("localhost", "127.0.0.1") for port in (3000, 5173)}


def test_allowed_origins_take_the_place_of_the_defaults_but_never_of_our_own():
    listed = origins(ALLOWED_ORIGINS=f"{PAGE}, https://b.example.org:443", FRONTEND_URL="https://c.example.org").listed
    assert listed >= {PAGE, "https://b.example.org", "http://127.0.0.1:8787"}
    assert "https://c.example.org" not in listed


def test_our_own_is_what_browsers_see():
    assert origins(PUBLIC_URL="https://chat.example.org/").listed == {"https://chat.example.org"}
    assert origins(HOST="192.0.2.1").listed == {"http://192.0.2.1:8787"}
    assert origins(HOST="2001:db8::1").listed == {"http://[2001:db8::1]:8787"}
    assert "http://127.0.0.1:4242" in Origins.from_settings(load_settings({"PORT": "0"}), 4242).listed


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "*",
        f"{PAGE}/",
        f"{PAGE}:8443",
        f"{PAGE}.evil.org",
        f"{PAGE}@evil.org",
        "http://app.example.org",
    ],
)
def test_what_is_not_listed_to_the_letter_is_not_listed(origin: str | None):
    listed = origins(FRONTEND_URL=PAGE)
    assert not listed.is_listed(origin)
    assert listed.cors_headers(origin) == {"Vary": "Origin"}
    with pytest.raises(ApiError) as fault:
        listed.preflight_headers(origin)
    assert fault.value.status == 403


def test_a_listed_page_is_named_and_may_send_credentials():
    headers = origins(FRONTEND_URL=PAGE).cors_headers(PAGE)
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert headers["Vary"] == "Origin"


def test_the_preflight_allows_the_headers_that_clients_send():
    allowed = origins(FRONTEND_URL=PAGE).preflight_headers(PAGE)["Access-Control-Allow-Headers"]
    names = {"Content-Type", "Authorization", "Idempotency-Key", "Last-Event-ID", "X-CSRF-Token", "X-Request-Id"}
    assert set(allowed.split(", ")) == names


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("origin", "mimetype", "status"),
    [
        (PAGE, "application/json", None),
        (PAGE, "application/merge-patch+json", None),
        (PAGE, "multipart/form-data", None),
        (PAGE, "text/plain", 415),
        (PAGE, "application/x-www-form-urlencoded", 415),
        (PAGE, "", 415),
        (None, "application/json", 403),
        ("null", "application/json", 403),
        ("https://evil.example", "application/json", 403),
    ],
)
def test_unsafe_methods_under_a_cookie_need_a_listed_origin_and_json_or_multipart(
    method: str, origin: str | None, mimetype: str, status: int | None
):
    listed = origins(FRONTEND_URL=PAGE)
    if status is None:
        listed.check_unsafe(method, origin, mimetype)
    else:
        with pytest.raises(ApiError) as fault:
            listed.check_unsafe(method, origin, mimetype)
        assert fault.value.status == status


def test_safe_methods_need_nothing():
    for method in ("GET", "HEAD", "OPTIONS"):
        origins().check_unsafe(method, "https://evil.example", "")


@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "null"}, False),
    ],
)
def test_a_get_that_costs_its_user_something_is_not_for_a_foreign_page(headers: dict[str, str], is_allowed: bool):
    listed = origins(FRONTEND_URL=PAGE)
    if is_allowed:
        listed.check_page(Headers(headers))
    else:
        with pytest.raises(ApiError) as fault:
            listed.check_page(Headers(headers))
        assert fault.value.status == 403


def test_json_is_told_by_its_media_type():
    assert is_json("application/json")
    assert is_json("application/problem+json")
    assert not is_json("text/json")
    assert not is_json("image/svg+xml")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("HTTPS://App.Example.org:443/x?y#z", "https://app.example.org"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:8787", "http://[::1]:8787"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(url: str, origin: str):
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "address"),
    [
        ((), "203.0.113.9", "1.2.3.4", "203.0.113.9"),
        (("10.0.0.0/8",), "203.0.113.9", "1.2.3.4", "203.0.113.9"),
        (("10.0.0.0/8",), "10.0.0.1", None, "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", "1.2.3.4", "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (("10.0.0.0/8",), "10.0.0.1", "6.6.6.6, nonsense", "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", "1.2.3.4:5678", "1.2.3.4"),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),
        (("::1/128",), "::1", "[2001:db8::1]:443", "2001:db8::1"),
        (("10.0.0.0/8",), "", "1.2.3.4", ""),
    ],
)
def test_forwarded_addresses_count_only_from_trusted_proxies_and_from_the_right(
    trusted: tuple[str, ...], peer: str, forwarded: str | None, address: str
):
    headers = Headers({"X-Forwarded-For": forwarded} if forwarded else {})
    assert Proxies(trusted).client_address(peer, headers) == address


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        (["6.6.6.6", "1.2.3.4, 10.0.0.2"], "1.2.3.4"),
        (["6.6.6.6, 1.2.3.4", "10.0.0.2"], "1.2.3.4"),
        (["6.6.6.6", "nonsense"], "10.0.0.1"),
    ],
)
def test_a_proxy_that_adds_a_line_of_its_own_is_believed_and_not_the_line_of_the_client(lines: list[str], address: str):
    headers = Headers([("X-Forwarded-For", line) for line in lines])
    assert Proxies(("10.0.0.0/8",)).client_address("10.0.0.1", headers) == address


def test_https_is_believed_only_of_a_trusted_proxy():
    told = Headers({"X-Forwarded-Proto": "https"})
    assert Proxies(("10.0.0.0/8",)).is_https("10.0.0.1", "http", told)
    assert not Proxies(("10.0.0.0/8",)).is_https("203.0.113.9", "http", told)
    assert not Proxies().is_https("10.0.0.1", "http", told)
    assert Proxies().is_https("203.0.113.9", "wss", Headers())
    lines = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")]
    assert not Proxies(("10.0.0.0/8",)).is_https("10.0.0.1", "http", Headers(lines))
    assert Proxies(("10.0.0.0/8",)).is_https("10.0.0.1", "http", Headers(reversed(lines)))


def test_cookies_may_travel_between_sites_only_over_https():
    assert cookie_attributes(True) == {"httponly": True, "path": "/", "secure": True, "samesite": "None"}
    assert cookie_attributes(False) == {"httponly": True, "path": "/", "secure": False, "samesite": "Lax"}
