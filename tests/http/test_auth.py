"""Who is who: every credential that is accepted, and everything that only looks like one."""

import base64
import hashlib
import hmac
import json
import random
import time
import urllib.parse
from dataclasses import replace
from typing import Any

import jwt
import pytest

from greenroom.http.auth import KNOWN_DIGESTS_MAX, Authenticator, Principal
from greenroom.http.claims import subject_of
from greenroom.http.errors import ApiError
from greenroom.storage.postgres.users import CLOCK_SKEW_SECONDS, User, UserChange
from greenroom.storage.subjects import ISSUER_ID_LIMIT

Front = Any  # tests/http/conftest.py, which cannot be imported
SECRET = "a secret of this test session that has at least sixty-four bytes in it"
COOKIE_SECRET = "the cookie secret of the auth service"


async def refused(front: Front, token: str) -> str:
    with pytest.raises(ApiError) as fault:
        await front.services.authenticator.from_bearer(token)
    assert fault.value.status == 401
    assert len(token) < 20 or token not in fault.value.message
    return fault.value.code


def part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: Any, payload: Any) -> str:
    """A token with a right signature whatever it says: what no library would make."""
    text = f"{part(header)}.{part(payload)}"
    return f"{text}.{part(hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).digest())}"


async def test_a_jwt_names_the_user_and_describes_them(front: Front):
    token = front.token("17", name="Alice", userType="creator", email="alice@example.org", jti="j1")
    principal = await front.services.authenticator.from_bearer(token)
    assert (principal.user_id, principal.name, principal.role) == (17, "Alice", "creator")
    assert (principal.kind, principal.session_id) == ("jwt", "j1")
    assert principal.expires_at == int(front.clock.now) + 600
    user = await front.services.users.by_id(17)
    assert user is not None
    assert user.email == "alice@example.org"


async def test_a_token_with_alg_none_is_refused(front: Front):
    unsigned = jwt.encode({"sub": "17"}, None, "none")  # type: ignore[arg-type]  # where cryptography is installed
    assert await refused(front, unsigned) == "INVALID_TOKEN"
    assert await refused(front, f"{part({'alg': 'none'})}.{part({'sub': '17'})}.") == "INVALID_TOKEN"
    assert await refused(front, signed({"alg": "None"}, {"sub": "17"})) == "INVALID_TOKEN"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_a_token_with_another_algorithm_is_refused_though_the_secret_is_right(front: Front, algorithm: str):
    assert await refused(front, front.token(algorithm=algorithm)) == "INVALID_TOKEN"


async def test_a_token_signed_with_another_secret_is_refused(front: Front):
    assert await refused(front, front.token(secret="another secret of at least 32 bytes")) == "INVALID_TOKEN"


async def test_an_expired_token_is_refused_as_expired(front: Front):
    assert await refused(front, front.token(exp=int(front.clock.now))) == "TOKEN_EXPIRED"
    token = front.token()
    await front.services.authenticator.from_bearer(token)
    front.clock.now += 601
    assert await refused(front, token) == "TOKEN_EXPIRED"


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_a_token_that_is_not_valid_yet_is_refused(front: Front, claim: str):
    soon = front.clock.now + CLOCK_SKEW_SECONDS + 1
    assert await refused(front, front.token(**{claim: soon})) == "INVALID_TOKEN"
    await front.services.authenticator.from_bearer(front.token(**{claim: soon - 2}))


async def test_a_token_that_was_tampered_with_is_refused(front: Front):
    header, payload, signature = front.token("17").split(".")
    other = part({"sub": "1", "exp": int(front.clock.now) + 600})
    flipped = signature[:-2] + ("A" if signature[-2] != "A" else "B") + signature[-1]
    for token in (f"{header}.{other}.{signature}", f"{header}.{payload}.{flipped}", f"{header}.{payload}.",
                  f"{header}.{payload}", f"{header}.{payload}.{signature}.x", "", ".", "..", "a.b.c"):  # fmt: skip
        assert await refused(front, token or " ") == "INVALID_TOKEN"


@pytest.mark.parametrize("sub", [None, "", 0, -1, True, 1.5, [], {}, "x" * 300, "0"])
async def test_a_token_without_a_usable_sub_is_refused(front: Front, sub: Any):
    payload = {"exp": front.clock.now + 600} | ({} if sub is None else {"sub": sub})
    assert await refused(front, signed({"alg": "HS256", "typ": "JWT"}, payload)) == "INVALID_TOKEN"


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["soon", True, [], {}])
async def test_a_time_that_is_no_number_is_refused(front: Front, claim: str, value: Any):
    payload = {"sub": "17", claim: value}
    assert await refused(front, signed({"alg": "HS256"}, payload)) == "INVALID_TOKEN"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'"17"',
        b"{",
        b'{"sub":"a\\u0000b"}',
        b'{"sub":"\\ud800"}',
        b'{"sub":"17","exp":1e400}',
        b'{"sub":99999999999999999999}',
        b'{"sub":"17","a":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b"\xff",
    ],
)
async def test_claims_that_the_decoder_does_not_take_are_refused_though_signed(front: Front, payload: bytes):
    assert await refused(front, signed({"alg": "HS256"}, payload)) == "INVALID_TOKEN"


@pytest.mark.parametrize(
    "header",
    [
        {},
        [],
        "HS256",
        {"alg": ["HS256"]},
        {"alg": "HS256", "crit": ["x"]},
        {"alg": "HS256", "b64": False},
        b"{" * 2000,
    ],
)
async def test_odd_headers_are_refused(front: Front, header: Any):
    assert await refused(front, signed(header, {"sub": "17"})) == "INVALID_TOKEN"


async def test_a_token_of_nine_kilobytes_is_refused_unread(front: Front):
    assert await refused(front, front.token(name="x" * 9000)) == "INVALID_TOKEN"


async def test_alice_first_and_then_the_number_1_are_two_users(front: Front):
    alice = await front.services.authenticator.from_bearer(front.token("alice"))
    one = await front.services.authenticator.from_bearer(front.token("1"))
    assert one.user_id == 1
    assert alice.user_id is not None
    assert alice.user_id >= ISSUER_ID_LIMIT


@pytest.mark.parametrize(
    ("sub", "subject"),
    [
        ("17", 17),
        (17, 17),
        (str(ISSUER_ID_LIMIT - 1), ISSUER_ID_LIMIT - 1),
        (str(ISSUER_ID_LIMIT), str(ISSUER_ID_LIMIT)),
        (ISSUER_ID_LIMIT, str(ISSUER_ID_LIMIT)),
        ("017", "017"),
        ("+17", "+17"),
        (" 17", " 17"),
        ("17\n", "17\n"),
        ("١٧", "١٧"),
        ("alice", "alice"),
    ],
)
def test_only_a_plain_number_below_2_to_the_40_is_a_users_id(sub: int | str, subject: int | str):
    assert subject_of(sub) == subject


@pytest.mark.parametrize(
    ("claimed", "name"),
    [(" Alice\n", "Alice"), ("A\u202ecilA\x85B", "A cilA B"), ("\u2028", "User 17"), ("x" * 300, "x" * 255),
     ({"a": 1}, "User 17"), ("\U0001f468\u200d\U0001f680", "\U0001f468\u200d\U0001f680")],
)  # fmt: skip
async def test_a_name_that_is_claimed_is_one_line(front: Front, claimed: Any, name: str):
    assert (await front.services.authenticator.from_bearer(front.token("17", name=claimed))).name == name


async def test_a_known_user_with_known_claims_costs_no_query(front: Front, monkeypatch: pytest.MonkeyPatch):
    authenticator = front.services.authenticator
    tokens = [front.token("17", name=f"Alice {number}") for number in range(KNOWN_DIGESTS_MAX)]
    for token in tokens:
        await authenticator.from_bearer(token)
    monkeypatch.setattr(front.postgres, "fetch", None)
    for token in tokens:
        assert (await authenticator.from_bearer(token)).user_id == 17


async def test_a_user_who_was_changed_is_read_again(front: Front):
    authenticator, token = front.services.authenticator, front.token("17", name="Alice")
    await authenticator.from_bearer(token)
    await front.services.users.change(17, UserChange(name="Alicia"))
    authenticator.forget_user(17)
    assert (await authenticator.from_bearer(token)).name == "Alicia"


async def test_a_change_while_the_user_is_read_is_not_forgotten(front: Front, monkeypatch: pytest.MonkeyPatch):
    authenticator, users = front.services.authenticator, front.services.users
    hear = users.hear

    async def hear_and_be_overtaken(*args: Any) -> Any:
        read = await hear(*args)
        await users.change(17, UserChange(role="user"))
        authenticator.forget_user(17)
        return read

    with monkeypatch.context() as patch:
        patch.setattr(users, "hear", hear_and_be_overtaken)
        await authenticator.from_bearer(front.token("17", role="admin"))
    assert (await authenticator.from_bearer(front.token("17", role="admin"))).role == "user"


async def test_a_right_that_a_token_takes_is_taken_also_while_somebody_else_is_changed(
    front: Front, monkeypatch: pytest.MonkeyPatch
):
    authenticator, users, told = front.services.authenticator, front.services.users, []
    hear, now = users.hear, int(front.clock.now)
    high, low = front.token("17", role="admin", iat=now - 50), front.token("17", role="user", iat=now - 20)
    assert (await authenticator.from_bearer(high)).role == "admin"

    async def hear_and_be_overtaken(*args: Any) -> Any:
        read = await hear(*args)
        authenticator.forget_user(18)
        return read

    async def listen(user: User) -> None:
        told.append((user.id, user.role))

    with monkeypatch.context() as patch:
        patch.setattr(users, "hear", hear_and_be_overtaken)
        patch.setattr(authenticator, "on_user_read", listen)
        assert (await authenticator.from_bearer(low)).role == "user"
    assert told == [(17, "user")]
    assert (await authenticator.from_bearer(high)).role == "user"


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_tokens_are_shown_a_put_stands_and_no_older_token_changes_anything(front: Front, seed: int):
    print(f"seed {seed}")
    chance, client, key = random.Random(seed), front.client(), await front.key("users:write", role="admin")
    started, tokens = int(front.clock.now), []
    latest = dict.fromkeys(("name", "role"), float("-inf"))  # the newest word on each field, a token's or a PUT's
    value = {"name": "User 17", "role": "user"}
    claimed: dict[str, set[str]] = {"name": set(), "role": set()}
    for _ in range(40):
        front.clock.now += chance.choice((0, 1, 5))
        act = chance.random()
        if act < 0.3 or not tokens:
            given = {"name": chance.choice("ABC"), "role": chance.choice(("user", "creator", "admin"))}
            claims = {field: word for field, word in given.items() if chance.random() < 0.7}
            issued_at = chance.choice((None, chance.randint(started, int(front.clock.now) + 3)))
            tokens.append((issued_at, claims, front.token("17", iat=issued_at, exp=started + 9999, **claims)))
        elif act < 0.5:
            field = chance.choice(("name", "role"))
            value[field] = {"name": chance.choice("XYZ"), "role": chance.choice(("user", "investor"))}[field]
            status, _, _ = await front.ask(client, "PUT", "/api/users/17", {field: value[field]}, **key)
            assert status in (200, 201)
            latest[field] = max(latest[field], front.clock.now + CLOCK_SKEW_SECONDS)
        elif act < 0.6:  # another process
            authenticator = Authenticator(
                users=front.services.users,
                sessions=front.services.sessions,
                api_keys=front.api_keys,
                jwt_secret=front.SECRET.encode(),
                clock=front.clock,
            )
            front = replace(front, services=replace(front.services, authenticator=authenticator))
            client = front.client()
        else:
            issued_at, claims, token = chance.choice(tokens)
            shown = await front.services.authenticator.from_bearer(token)
            for field, now in (("name", shown.name), ("role", shown.role)):
                if field in claims and (issued_at or 0) > latest[field]:
                    latest[field] = issued_at or 0
                    assert now in (value[field], claims[field])
                    if claims[field] not in claimed[field]:
                        assert now == claims[field]
                    claimed[field].add(claims[field])
                    value[field] = now
                assert now == value[field], f"{field} after {claims} of {issued_at}, with {latest}"


async def test_a_session_cookie_is_its_user_until_it_expires(front: Front):
    session_id = await front.session(17, seconds=60, name="Alice", role="creator")
    principal = await front.services.authenticator.from_cookie(session_id)
    assert (principal.user_id, principal.name, principal.role, principal.kind) == (17, "Alice", "creator", "session")
    assert principal.session_id == session_id
    front.clock.now = time.time() + 61
    with pytest.raises(ApiError) as fault:
        await front.services.authenticator.from_cookie(session_id)
    assert fault.value.code == "TOKEN_EXPIRED"


async def test_what_a_token_says_anew_of_a_user_their_session_says_at_once(front: Front):
    authenticator, session_id = front.services.authenticator, await front.session(17, name="Ann", role="creator")
    assert (await authenticator.from_cookie(session_id)).name == "Ann"
    changes = authenticator.changes
    await authenticator.from_bearer(front.token("17", iat=int(front.clock.now) - 9, name="Old"))
    await authenticator.from_bearer(front.token("17", iat=int(front.clock.now) + 1, name="Ann"))
    assert authenticator.changes == changes  # an upgrade under way has nothing to catch up with
    await authenticator.from_bearer(front.token("17", iat=int(front.clock.now) + 2, name="Anna", role="user"))
    principal = await authenticator.from_cookie(session_id)
    assert (principal.name, principal.role) == ("Anna", "user")
    assert authenticator.changes > changes


@pytest.mark.parametrize("name", ["pitchey-session", "better-auth-session"])
async def test_both_cookie_names_are_taken(front: Front, name: str):
    cookies = {name: await front.session(17)}
    principal = await front.services.authenticator.authenticate(authorization=None, cookies=cookies)
    assert principal is not None
    assert principal.user_id == 17


async def test_a_deleted_session_is_refused_at_once_here_and_within_a_second_elsewhere(front: Front):
    authenticator, session_id = front.services.authenticator, await front.session(17)
    await authenticator.from_cookie(session_id)
    await front.services.sessions.delete(session_id)
    front.clock.now += 1
    with pytest.raises(ApiError):
        await authenticator.from_cookie(session_id)
    other = await front.session(18)
    await authenticator.from_cookie(other)
    await front.services.sessions.delete(other)
    authenticator.forget_session(other)
    with pytest.raises(ApiError):
        await authenticator.from_cookie(other)


async def test_a_signed_cookie_is_verified_as_better_auth_signs(front: Front):
    session_id = await front.session(17)
    digest = hmac.new(COOKIE_SECRET.encode(), session_id.encode(), hashlib.sha256).digest()
    value = f"{session_id}.{base64.b64encode(digest).decode()}"
    authenticator = front.services.authenticator
    for spelling in (value, urllib.parse.quote(value, safe=""), authenticator.sign_cookie(session_id)):
        assert (await authenticator.from_cookie(spelling)).user_id == 17


async def test_a_cookie_with_a_wrong_signature_is_refused(front: Front):
    session_id = await front.session(17)
    wrong = base64.b64encode(hashlib.sha256(b"guess").digest()).decode()
    with pytest.raises(ApiError) as fault:
        await front.services.authenticator.from_cookie(f"{session_id}.{wrong}")
    assert fault.value.status == 401


@pytest.mark.parametrize("value", ["x", "x" * 9000, "a b", "%00", "\udcff", "ä", "'; drop table users; --", "." * 44])
async def test_a_cookie_that_is_no_session_is_refused(front: Front, value: str):
    with pytest.raises(ApiError) as fault:
        await front.services.authenticator.from_cookie(value)
    assert fault.value.code == "UNAUTHORIZED"


async def test_no_credential_at_all_is_nobody(front: Front):
    assert await front.services.authenticator.authenticate(authorization=None, cookies={"other": "x"}) is None


async def test_a_stale_cookie_beside_a_good_one_keeps_nobody_out(front: Front):
    authenticator = front.services.authenticator
    old, good = await front.session(17, seconds=60), await front.session(18, seconds=600)
    front.clock.now = time.time() + 61
    for stale in (old, "gone", f"{old}.{'A' * 43}="):
        cookies = {"pitchey-session": stale, "better-auth-session": good}
        assert (await authenticator.authenticate(authorization=None, cookies=cookies)).user_id == 18
        cookies = {"pitchey-session": good, "better-auth-session": stale}
        assert (await authenticator.authenticate(authorization=None, cookies=cookies)).user_id == 18
    with pytest.raises(ApiError) as fault:
        await authenticator.authenticate(
            authorization=None, cookies={"pitchey-session": old, "better-auth-session": "gone"}
        )
    assert fault.value.code == "TOKEN_EXPIRED"  # what the first one says


async def test_a_good_cookie_is_not_passed_over_for_what_is_asked_beside_it(front: Front):
    cookies = {"pitchey-session": await front.session(17), "better-auth-session": await front.session(18)}
    with pytest.raises(ApiError) as fault:
        await front.services.authenticator.authenticate(authorization=None, cookies=cookies, act_as="19")
    assert fault.value.status == 400


async def test_a_wrong_header_is_not_made_good_by_a_right_cookie(front: Front):
    cookies = {"pitchey-session": await front.session(17)}
    for header in ("Bearer nonsense", "Basic YTpi", "Bearer", "nonsense", ""):
        with pytest.raises(ApiError) as fault:
            await front.services.authenticator.authenticate(authorization=header, cookies=cookies)
        assert fault.value.status == 401


async def test_an_api_key_acts_for_nobody_by_itself(front: Front):
    token = (await front.key("users:write"))["Authorization"].removeprefix("Bearer ")
    principal = await front.services.authenticator.from_bearer(token)
    assert (principal.user_id, principal.kind, principal.role) == (None, "api_key", "service")
    assert principal.has_scope("users:write")
    assert not principal.has_scope("email:send")
    with pytest.raises(ApiError) as fault:
        principal.require_user()
    assert fault.value.status == 403


async def test_an_api_key_acts_for_a_user_only_with_its_scope(front: Front):
    await front.services.users.know(17, {"name": "Alice", "role": "admin"})
    may = (await front.key("act_as"))["Authorization"].removeprefix("Bearer ")
    may_not = (await front.key("users:write"))["Authorization"].removeprefix("Bearer ")
    authenticator = front.services.authenticator
    principal = await authenticator.from_bearer(may, act_as="17")
    assert (principal.user_id, principal.name) == (17, "Alice")
    assert not principal.is_admin  # the key's role counts, not that of the user it acts for
    for token, act_as, code in (
        (may_not, "17", "FORBIDDEN"),
        (may, "99", "USER_NOT_FOUND"),
        (may, "alice", "VALIDATION"),
        (may, "9" * 16, "USER_NOT_FOUND"),
        (may, "9" * 40, "VALIDATION"),
    ):
        with pytest.raises(ApiError) as fault:
            await authenticator.from_bearer(token, act_as=act_as)
        assert fault.value.code == code


async def test_a_credential_that_is_somebodys_own_acts_for_nobody_else(front: Front):
    await front.services.users.know(18, {"name": "Bob"})
    bearer, cookies = f"Bearer {front.token('17', role='admin')}", {"pitchey-session": await front.session(17)}
    authenticate = front.services.authenticator.authenticate
    for act_as in ("18", "17", "nonsense", ""):
        for shown in ({"authorization": bearer, "cookies": {}}, {"authorization": None, "cookies": cookies}):
            with pytest.raises(ApiError) as fault:
                await authenticate(**shown, act_as=act_as)
            assert (fault.value.code, "X-Act-As" in fault.value.message) == ("VALIDATION", True)
    with pytest.raises(ApiError) as fault:
        await authenticate(authorization="Bearer nonsense", cookies={}, act_as="18")
    assert fault.value.status == 401


async def test_a_wrong_or_revoked_key_is_refused(front: Front):
    key_id, token = await front.api_keys.create(name="", role="admin", scopes=[])
    authenticator = front.services.authenticator
    assert (await authenticator.from_bearer(token)).is_admin
    for wrong in (token[:-1], token + "x", f"grk_{key_id}_", "grk_", "grk_x_y", f"grk_{key_id}\0_x", "grk_ä_ö"):
        assert await refused(front, wrong) == "INVALID_TOKEN"
    await front.api_keys.revoke(key_id)
    front.clock.now += 1
    assert await refused(front, token) == "INVALID_TOKEN"


async def test_renewing_finds_out_what_has_ended_since(front: Front):
    authenticator = front.services.authenticator
    session_id = await front.session(17)
    by_session = await authenticator.from_cookie(session_id)
    by_token = await authenticator.from_bearer(front.token("18"))
    key_id, key = await front.api_keys.create(name="", role="service", scopes=["act_as"])
    by_key = await authenticator.from_bearer(key, act_as="17")
    for principal in (by_session, by_token, by_key):
        assert await authenticator.renew(principal) == principal
    await front.services.sessions.delete(session_id)
    await front.api_keys.revoke(key_id)
    front.clock.now += 601
    for principal in (by_session, by_token, by_key):
        with pytest.raises(ApiError) as fault:
            await authenticator.renew(principal)
        assert fault.value.status == 401


def test_an_administrator_has_every_scope():
    assert Principal(1, "admin", "", "jwt").has_scope("anything")
    assert not Principal(1, "creator", "", "jwt").has_scope("anything")
