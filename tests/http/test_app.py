"""The application around the operations: request ids, the envelope on every path, limits, CORS, faults, documents."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import structlog
import trio
from quart.testing.connections import WebsocketResponseError

from greenroom.http.app import OPERATIONS, make_app
from greenroom.http.errors import CODE_OF, STATUS_OF, ApiError
from greenroom.http.models import Id, Input
from greenroom.http.openapi import document
from greenroom.http.route import JSON_BYTES_MAX, Answer, Call, Operations
from greenroom.runtime import StorageUnavailable

Front = Any  # tests/http/conftest.py, which cannot be imported
PAGE = "https://app.example.org"
JSON = {"Content-Type": "application/json"}

operations = Operations("tests")


class Thing(Input):
    name: str
    room_id: Id = 1


class Page(Input):
    limit: Id = 20


@operations.post("/test/things/{id}", auth="nobody", body=Thing, status=201, also=["PUT /test/other/{id}"])
async def make_thing(call: Call) -> Answer:
    """Echo."""
    thing = call.body(Thing)
    return Answer({"id": call.id(), "name": thing.name, "room": thing.room_id})


@operations.get("/test/things", auth="nobody", query=Page)
async def list_things(call: Call) -> Answer:
    """Echo."""
    return Answer({"limit": call.query(Page).limit})


@operations.get("/test/mine", auth="user")
async def get_mine(call: Call) -> Answer:
    """Whose."""
    return Answer({"user": call.user_id})


@operations.post("/test/mine", auth="user", body=Input)
async def post_mine(call: Call) -> Answer:
    """Whose."""
    return Answer({"user": call.user_id})


@operations.post("/test/bare", auth="nobody")
async def do_bare(call: Call) -> Answer:
    """Nothing is needed to do this."""
    return Answer({"done": True})


@operations.delete("/test/bare", auth="nobody")
async def undo_bare(call: Call) -> Answer:
    """Nor this."""
    return Answer({"done": False})


@operations.get("/test/hidden", auth="nobody", is_development=True)
async def get_hidden(call: Call) -> Answer:
    """For development only."""
    return Answer()


@operations.get("/test/half/hidden", auth="nobody", is_development=True)
async def get_half(call: Call) -> Answer:
    """For development only."""
    return Answer()


@operations.put("/test/half/hidden", auth="nobody")
async def put_half(call: Call) -> Answer:
    """For everybody."""
    return Answer()


@operations.get("/test/crash/{kind}", auth="nobody")
async def crash(call: Call) -> Answer:
    """Fail, as asked for."""
    await trio.lowlevel.checkpoint()
    kind = call.text("kind")
    if kind == "group":
        async with trio.open_nursery():
            raise RuntimeError("hunter2")
    if kind == "away":
        raise StorageUnavailable("hunter2")
    if kind == "refusal":
        raise ApiError("QUOTA_EXCEEDED", "too much", details={"left": 0})
    raise RuntimeError("hunter2")


@pytest.fixture
def client(front: Front) -> Any:
    return replace(front, operations=(*OPERATIONS, operations)).client(frontend_url=PAGE)


async def ask(client: Any, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
    response = await client.open(path, method=method, **options)
    data = await response.get_data()
    return response.status_code, json.loads(data) if data else None, response.headers


def assert_failure(answer: tuple[int, Any, Any], status: int, code: str) -> None:
    found, body, headers = answer
    assert (found, body["success"], body["error"]["code"]) == (status, False, code)
    assert body["error"]["message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["meta"]["timestamp"])
    assert body["meta"]["requestId"] == headers["X-Request-Id"]
    assert headers["Content-Type"] == "application/json"


async def test_a_success_is_in_the_envelope(client: Any):
    status, body, headers = await ask(client, "POST", "/test/things/5", data=b'{"name":"x","roomId":"7"}', headers=JSON)
    assert status == 201
    assert body["success"] is True
    assert body["data"] == {"id": 5, "name": "x", "room": 7}
    assert body["meta"]["requestId"] == headers["X-Request-Id"]


async def test_two_routes_can_lead_to_one_handler(client: Any):
    status, body, _ = await ask(client, "PUT", "/test/other/6", data=b'{"name":"x"}', headers=JSON)
    assert (status, body["data"]["id"]) == (201, 6)


async def test_an_unknown_path_is_404_before_anybody_is_asked_who_they_are(client: Any):
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        answer = await ask(client, method, "/api/nothing", headers={"Authorization": "Bearer nonsense"})
        assert_failure(answer, 404, "NOT_FOUND")


async def test_a_wrong_method_is_405_before_anybody_is_asked_who_they_are(client: Any):
    answer = await ask(client, "DELETE", "/test/mine")
    assert_failure(answer, 405, "METHOD_NOT_ALLOWED")
    assert set(answer[2]["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize("path", ["/test/hidden", "/test/hidden/", "/api/dev/sign-in", "/console/static/app.js"])
async def test_whoever_may_not_see_a_development_only_path_cannot_tell_it_from_none(client: Any, path: str):
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE"):
        found = await ask(client, method, path)
        none = await ask(client, method, "/api/nothing")
        assert (found[0], found[1] and found[1]["error"]) == (404, none[1] and none[1]["error"]), method
        assert set(found[2].keys()) == set(none[2].keys())
    preflight = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}
    assert_failure(await ask(client, "OPTIONS", path, headers=preflight), 404, "NOT_FOUND")


async def test_whoever_may_see_a_development_only_path_is_told_its_methods(front: Front):
    client = replace(front, operations=(operations,)).client(environment="development")
    hidden = f"/test/hidden?key={front.DEVELOPMENT_KEY}"
    assert (await ask(client, "GET", hidden, headers={"Host": "localhost"}))[0] == 200
    answer = await ask(client, "POST", hidden, headers={"Host": "localhost"})
    assert_failure(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer[2]["Allow"] == "GET, HEAD"
    status, _, headers = await ask(client, "OPTIONS", hidden, headers={"Host": "localhost"})
    assert (status, headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
    assert_failure(await ask(client, "POST", "/test/hidden", headers={"Host": "localhost"}), 404, "NOT_FOUND")


async def test_a_path_that_is_partly_for_development_shows_the_rest_only(client: Any):
    assert_failure(await ask(client, "GET", "/test/half/hidden"), 404, "NOT_FOUND")
    answer = await ask(client, "POST", "/test/half/hidden")
    assert_failure(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer[2]["Allow"] == "PUT"
    assert (await ask(client, "OPTIONS", "/test/half/hidden"))[2]["Allow"] == "OPTIONS, PUT"


@pytest.mark.parametrize("path", ["/api/health/", "//api/health", "/api//health"])
async def test_no_path_is_answered_with_a_redirect(client: Any, path: str):
    assert (await ask(client, "GET", path))[0] in (200, 404)


async def test_without_a_credential_it_is_401_with_a_code(client: Any, front: Front):
    assert_failure(await ask(client, "GET", "/test/mine"), 401, "UNAUTHORIZED")
    answer = await ask(client, "GET", "/test/mine", headers=front.bearer(exp=1))
    assert_failure(answer, 401, "TOKEN_EXPIRED")
    assert answer[2]["WWW-Authenticate"].startswith("Bearer")
    assert (await ask(client, "GET", "/test/mine", headers=front.bearer("17")))[1]["data"] == {"user": 17}


async def test_who_is_asking_is_settled_before_the_body_is_looked_at(client: Any):
    assert_failure(await ask(client, "POST", "/test/mine", data=b"{", headers=JSON), 401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    "data",
    [b"{", b"nonsense", b"[]", b'"x"', b"1", b"\xff", b'{"name":"\\u0000"}', b'{"name":"\\ud800"}', b'{"name":NaN}',
     b'{"name":' + b"[" * 100_000 + b"}", b'{"roomId":' + b"9" * 400 + b"}"],
)  # fmt: skip
async def test_malformed_json_is_400(client: Any, data: bytes):
    assert_failure(await ask(client, "POST", "/test/things/5", data=data, headers=JSON), 400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": 1}, "name"),
        ({"name": None}, "name"),
        ({"name": "x", "roomId": "abc"}, "roomId"),
        ({"name": "x", "roomId": True}, "roomId"),
        ({"name": "x", "roomId": 1.0}, "roomId"),
        ({"name": "x", "roomId": 0}, "roomId"),
        ({"name": "x", "roomId": "9" * 16}, "roomId"),
        ({"name": "x", "roomId": " 1"}, "roomId"),
        ({"name": "x", "roomId": "1_0"}, "roomId"),
    ],
)
async def test_json_of_the_wrong_shape_is_400_and_names_the_field(client: Any, body: Any, field: str):
    answer = await ask(client, "POST", "/test/things/5", data=json.dumps(body), headers=JSON)
    assert_failure(answer, 400, "VALIDATION")
    assert answer[1]["error"]["details"][0]["field"] == field


async def test_a_missing_body_is_400_where_one_is_needed(client: Any):
    assert_failure(await ask(client, "POST", "/test/things/5"), 400, "VALIDATION")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
async def test_a_body_that_does_not_say_it_is_json_is_415(client: Any, content_type: str | None):
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await ask(client, "POST", "/test/things/5", data=b'{"name":"x"}', headers=headers)
    assert_failure(answer, 415, "INVALID_FILE_TYPE")


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "windows-1252", "x"])
async def test_a_body_in_another_charset_is_415_and_not_read_as_if_it_were_utf_8(client: Any, charset: str):
    headers = {"Content-Type": f"application/json; charset={charset}"}
    assert_failure(
        await ask(client, "POST", "/test/things/5", data=b'{"name":"x"}', headers=headers), 415, "INVALID_FILE_TYPE"
    )


async def test_json_may_name_its_charset(client: Any):
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert (await ask(client, "POST", "/test/things/5", data=b'{"name":"x"}', headers=headers))[0] == 201


async def test_a_body_over_1_mib_is_413_whether_or_not_it_says_so(client: Any):
    data = b'{"name":"' + b"x" * JSON_BYTES_MAX + b'"}'
    assert_failure(await ask(client, "POST", "/test/things/5", data=data, headers=JSON), 413, "FILE_TOO_LARGE")
    claimed = {**JSON, "Content-Length": str(10**12)}
    assert_failure(await ask(client, "POST", "/test/things/5", data=b"{}", headers=claimed), 413, "FILE_TOO_LARGE")
    async with client.request("/test/things/5", method="POST", headers=JSON) as connection:
        for _ in range(20):
            await connection.send(b" " * (JSON_BYTES_MAX // 8))
        await connection.send_complete()
        response = await connection.as_response()
    assert response.status_code == 413


async def test_a_body_of_1_mib_is_taken(client: Any):
    data = b'{"name":"' + b"x" * (JSON_BYTES_MAX - 11) + b'"}'
    assert len(data) == JSON_BYTES_MAX
    assert (await ask(client, "POST", "/test/things/5", data=data, headers=JSON))[0] == 201


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_what_needs_no_body_takes_none_or_any_object(client: Any, method: str):
    for options in ({}, {"data": b""}, {"data": b"{}", "headers": JSON}, {"data": b'{"a":[1]}', "headers": JSON}):
        assert (await ask(client, method, "/test/bare", **options))[0] == 200


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    ("data", "headers", "status", "code"),
    [
        (b"{", JSON, 400, "BAD_REQUEST"),
        (b"[]", JSON, 400, "BAD_REQUEST"),
        (b"null", JSON, 400, "BAD_REQUEST"),
        (b"\xff", JSON, 400, "BAD_REQUEST"),
        (b'{"a":"\\u0000"}', JSON, 400, "BAD_REQUEST"),
        (b'{"a":1e999}', JSON, 400, "BAD_REQUEST"),
        (b'{"a":"' + b"x" * JSON_BYTES_MAX + b'"}', JSON, 413, "FILE_TOO_LARGE"),
        (b"{}", {}, 415, "INVALID_FILE_TYPE"),
        (b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "INVALID_FILE_TYPE"),
    ],
)
async def test_a_body_that_is_not_needed_is_looked_at_all_the_same(
    client: Any, method: str, data: bytes, headers: dict[str, str], status: int, code: str
):
    assert_failure(await ask(client, method, "/test/bare", data=data, headers=headers), status, code)


async def test_the_body_of_a_get_means_nothing(client: Any):
    assert (await ask(client, "GET", "/test/things", data=b"{", headers=JSON))[0] == 200


@pytest.mark.parametrize("path", ["/test/things/5", "/test/bare"])
@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP", "identity, gzip", "nonsense"])
async def test_a_body_in_a_content_coding_is_415(client: Any, path: str, coding: str):
    headers = {**JSON, "Content-Encoding": coding}
    answer = await ask(client, "POST", path, data=b'{"name":"x"}', headers=headers)
    assert_failure(answer, 415, "INVALID_FILE_TYPE")
    assert "Content-Encoding" in answer[1]["error"]["message"]
    assert answer[2]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
async def test_a_body_as_it_is_may_say_so(client: Any, coding: str):
    headers = {**JSON, "Content-Encoding": coding}
    assert (await ask(client, "POST", "/test/things/5", data=b'{"name":"x"}', headers=headers))[0] == 201


@pytest.mark.parametrize(
    "text", ["abc", "0", "-1", "1.5", "9" * 16, "9" * 400, "%00", "%F0%9F%98%80", "%D9%A1", "1%20"]
)
async def test_an_id_in_the_path_that_is_none_is_400(client: Any, text: str):
    status, body, _ = await ask(client, "POST", f"/test/things/{text}", data=b'{"name":"x"}', headers=JSON)
    assert status == 400
    assert body["success"] is False


@pytest.mark.parametrize(
    "query", ["limit=abc", "limit=", "limit=-1", "limit=" + "9" * 400, "limit=1&x=%00", "limit=%FF"]
)
async def test_a_query_that_cannot_be_used_is_400(client: Any, query: str):
    status, body, _ = await ask(client, "GET", f"/test/things?{query}")
    assert status == 400
    assert body["success"] is False


@pytest.mark.parametrize("query", ["limit=1&limit=2", "limit=2&x=1&x=2"])
async def test_what_a_query_says_twice_and_in_two_ways_is_400(client: Any, query: str):
    answer = await ask(client, "GET", f"/test/things?{query}")
    assert_failure(answer, 400, "VALIDATION")
    assert (await ask(client, "GET", "/test/things?limit=2&limit=2"))[1]["data"] == {"limit": 2}


async def test_a_number_below_the_least_is_told_so(client: Any):
    for path in ("/test/things?limit=-1", "/test/things?limit=0"):
        assert "greater than or equal to 1" in (await ask(client, "GET", path))[1]["error"]["message"]


async def test_a_query_of_digits_is_a_number(client: Any):
    assert (await ask(client, "GET", "/test/things?limit=7&unknown=1"))[1]["data"] == {"limit": 7}


@pytest.mark.parametrize("kind", ["plainly", "group"])
async def test_an_unhandled_fault_is_500_tells_nothing_and_is_logged(client: Any, kind: str):
    with structlog.testing.capture_logs() as lines:
        answer = await ask(client, "GET", f"/test/crash/{kind}?token=hunter2")
    assert_failure(answer, 500, "INTERNAL")
    assert "hunter2" not in json.dumps(answer[1])
    failed = next(line for line in lines if line["event"] == "http.failed")
    assert failed["request_id"] == answer[2]["X-Request-Id"]
    assert failed["path"] == f"/test/crash/{kind}"
    assert failed["exc_info"] is not None


async def test_storage_that_is_away_is_503_with_whole_seconds_to_wait(client: Any):
    answer = await ask(client, "GET", "/test/crash/away")
    assert_failure(answer, 503, "SERVICE_UNAVAILABLE")
    assert (answer[1]["error"]["retryAfter"], answer[2]["Retry-After"]) == (1, "1")


async def test_a_refusal_carries_its_code_and_details(client: Any):
    answer = await ask(client, "GET", "/test/crash/refusal")
    assert_failure(answer, 403, "QUOTA_EXCEEDED")
    assert answer[1]["error"]["details"] == {"left": 0}


@pytest.mark.parametrize("given", ["abc", "a-b_c.d:1", "x" * 64])
async def test_a_sane_request_id_is_kept(client: Any, given: str):
    assert (await ask(client, "GET", "/api/health/ping", headers={"X-Request-Id": given}))[2]["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "<script>", "ä"])
async def test_any_other_request_id_is_replaced(client: Any, given: str):
    headers = (await ask(client, "GET", "/api/nothing", headers={"X-Request-Id": given}))[2]
    assert re.fullmatch("[0-9a-f]{32}", headers["X-Request-Id"])


async def test_every_answer_has_the_security_headers(client: Any):
    for path in ("/api/health/ping", "/api/nothing", "/test/crash/plainly", "/test/mine"):
        headers = (await ask(client, "GET", path))[2]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


async def test_a_listed_page_may_read_every_answer_also_failures(client: Any):
    for path in ("/api/health/ping", "/api/nothing", "/test/crash/plainly", "/test/mine"):
        headers = (await ask(client, "GET", path, headers={"Origin": PAGE}))[2]
        assert headers["Access-Control-Allow-Origin"] == PAGE
        assert headers["Access-Control-Allow-Credentials"] == "true"
        assert headers["Vary"] == "Origin"
        headers = (await ask(client, "GET", path, headers={"Origin": "https://evil.example"}))[2]
        assert "Access-Control-Allow-Origin" not in headers


async def test_the_preflight_of_a_listed_page_is_answered_and_of_another_refused(client: Any):
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    status, body, headers = await ask(client, "OPTIONS", "/api/users/1", headers=asked)
    assert (status, body) == (204, None)
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert "PUT" in headers["Access-Control-Allow-Methods"]
    assert "X-CSRF-Token" in headers["Access-Control-Allow-Headers"]
    answer = await ask(client, "OPTIONS", "/api/users/1", headers={**asked, "Origin": "https://evil.example"})
    assert_failure(answer, 403, "FORBIDDEN")


async def test_options_without_a_page_tells_the_methods(client: Any):
    status, _, headers = await ask(client, "OPTIONS", "/test/mine")
    assert (status, headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")


async def test_an_unsafe_method_under_a_cookie_needs_a_listed_origin_and_json(client: Any, front: Front):
    cookie = {"Cookie": f"pitchey-session={await front.session(17)}"}
    good = {**cookie, **JSON, "Origin": PAGE}
    assert (await ask(client, "POST", "/test/mine", headers=good))[0] == 200
    for origin in (None, "null", "https://evil.example"):
        headers = {**cookie, **JSON} | ({"Origin": origin} if origin else {})
        assert_failure(await ask(client, "POST", "/test/mine", headers=headers), 403, "FORBIDDEN")
    plain = {**good, "Content-Type": "text/plain"}
    assert_failure(await ask(client, "POST", "/test/mine", headers=plain), 415, "INVALID_FILE_TYPE")
    assert (await ask(client, "GET", "/test/mine", headers=cookie))[0] == 200


async def test_with_a_token_in_the_header_a_cookie_beside_it_needs_no_origin(client: Any, front: Front):
    headers = {**JSON, **front.bearer("18"), "Cookie": f"pitchey-session={await front.session(17)}"}
    assert (await ask(client, "POST", "/test/mine", headers=headers))[1]["data"] == {"user": 18}


async def test_queries_are_never_logged(client: Any):
    with structlog.testing.capture_logs() as lines:
        await ask(client, "GET", "/ws?token=hunter2")
        await ask(client, "GET", "/api/nothing?key=hunter2")
    assert lines
    assert "hunter2" not in repr(lines)


async def test_head_is_answered_where_get_is(client: Any):
    assert (await client.open("/api/health/ping", method="HEAD")).status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/test/hidden", "/api/dev/sign-in", "/test/mine"])
async def test_a_websocket_upgrade_of_a_path_that_has_none_is_refused_in_the_envelope(client: Any, path: str):
    with pytest.raises((WebsocketResponseError, ExceptionGroup)) as fault:
        async with client.websocket(path) as socket:
            await socket.receive()
    error: Any = fault.value
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    response = error.response
    answer = response.status_code, json.loads(await response.get_data()), response.headers
    assert answer[0] == 404
    assert answer[1]["error"]["code"] == "NOT_FOUND"
    assert answer[1]["meta"]["requestId"]


def test_every_code_has_a_status_and_every_status_a_code():
    assert all(400 <= status < 600 for status in STATUS_OF.values())
    assert all(STATUS_OF[code] == status for status, code in CODE_OF.items())
    with pytest.raises(KeyError):
        ApiError("MADE_UP", "no such code")


async def test_the_description_is_openapi_3_1_and_lists_every_operation(client: Any):
    status, body, _ = await ask(client, "GET", "/openapi.json")
    assert status == 200
    assert body["openapi"].startswith("3.1")
    listed = {(method.upper(), path) for path, methods in body["paths"].items() for method in methods}
    for group in OPERATIONS:
        for operation in group.all:
            if not (operation.is_hidden or operation.is_development):
                assert {(operation.method, operation.path), *operation.also} <= listed


async def test_the_description_states_models_failures_and_who_may_call(front: Front):
    described = document(make_app(front.services))
    put = described["paths"]["/api/users/{id}"]["put"]
    assert put["parameters"][0]["schema"]["type"] == "integer"
    assert "timezone" in put["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"200", "400", "401", "403", "404", "413", "415", "503"} <= {str(status) for status in put["responses"]}
    failure = put["responses"][400 if 400 in put["responses"] else "400"]["content"]["application/json"]["schema"]
    assert failure == {"$ref": "#/components/schemas/Failure"}
    assert put["security"] == [{"bearer": []}, {"session": []}]
    ids = [operation["operationId"] for methods in described["paths"].values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)


async def test_the_description_states_every_body_and_the_headers_that_count(house: Any):
    paths = document(house.app)["paths"]
    for path in ("/api/email/send", "/api/email/batch", "/api/messages/send"):
        assert paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    for method, path, names in (
        ("post", "/api/messages/send", {"Idempotency-Key", "X-Act-As"}),
        ("get", "/api/conversations", {"limit", "offset", "userId", "X-Act-As"}),
        ("post", "/api/auth/sign-out", set()),
    ):
        assert {parameter["name"] for parameter in paths[path][method]["parameters"]} == names
    sends = {str(status) for status in paths["/api/messages/send"]["post"]["responses"]}
    assert sends >= {"200", "201", "400", "401", "403", "404", "409", "413", "415", "429", "503"}


async def test_every_reference_in_the_description_leads_somewhere(client: Any):
    _, body, _ = await ask(client, "GET", "/openapi.json")
    for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(body)):
        assert name in body["components"]["schemas"]


async def test_the_documentation_page_loads_nothing_from_anywhere_else(client: Any):
    response = await client.get("/docs")
    page = (await response.get_data()).decode()
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    policy = response.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    parts = re.findall(r'(?:src|href)="([^"]+)"', page)
    parts.remove("data:,")  # the icon: or the browser asks for /favicon.ico, which is not there
    assert parts
    for part in parts:
        assert part.startswith("/")
        found = await client.get(part)
        assert found.status_code == 200
        assert "http" not in re.sub(
            r"http (interface|methods?)", "", (await found.get_data()).decode()
        ) or part.endswith("json")
    assert not re.search(r"<script>|<style>| on\w+=| style=", page)


@pytest.mark.parametrize("name", ["docs.html", "nothing.js", "..%2f..%2fapp.py", "%2e%2e", ".", "docs.js%00"])
async def test_no_other_file_is_served(client: Any, name: str):
    assert (await client.get(f"/static/{name}")).status_code in (400, 404)
