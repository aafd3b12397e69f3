"""What was read of a token is kept: with the same answer as if it were not, whenever that is, and few of them."""

import random

import pytest

from greenroom.http.errors import ApiError
from greenroom.http.json_web_tokens import KEPT_CHARACTERS_MAX, TOKENS_KEPT, JsonWebTokens
from greenroom.storage.postgres.users import CLOCK_SKEW_SECONDS

SECRET = b"a secret of this test session that has at least sixty-four bytes in it"


class Clock:
    """Unix time that only tests move."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def answer(tokens, token):
    """The claims, or the code and words of the refusal."""
    try:
        return tokens.read(token)
    except ApiError as fault:
        return fault.code, fault.message


@pytest.mark.parametrize("seed", range(20))
def test_a_token_is_answered_as_by_who_has_not_seen_it(seed):
    chance, clock = random.Random(seed), Clock()
    tokens = JsonWebTokens(SECRET, clock)

    def claims():
        said: dict[str, object] = {"sub": str(chance.randrange(1, 4)), "name": chance.choice("ab")}
        for name in ("exp", "nbf", "iat"):
            if chance.random() < 0.6:
                said[name] = clock.now + chance.randrange(-30, 60)
        return said | ({"jti": chance.choice(["j", 7])} if chance.random() < 0.5 else {})

    made = [tokens.sign(claims()) for _ in range(6)]
    made += [made[0][:-1] + ("A" if made[0][-1] != "A" else "Q"), made[1] + "x", made[2].replace(".", "..", 1)]
    for _ in range(300):
        clock.now += chance.choice([0, 0, 1, 7, -5])
        token = chance.choice(made)
        assert answer(tokens, token) == answer(JsonWebTokens(SECRET, clock), token)


def test_who_was_let_in_is_not_when_the_time_is_over_and_not_before_it_begins():
    clock = Clock()
    tokens = JsonWebTokens(SECRET, clock)
    token = tokens.sign({"sub": "1", "exp": clock.now + 10, "nbf": clock.now})
    assert tokens.read(token) is tokens.read(token), "it is not read twice"
    clock.now += 10
    assert answer(tokens, token)[0] == "TOKEN_EXPIRED"
    clock.now -= 1
    assert answer(tokens, token) == JsonWebTokens(SECRET, clock).read(token)
    clock.now -= 9 + CLOCK_SKEW_SECONDS + 1
    assert answer(tokens, token) == ("INVALID_TOKEN", "the token is not valid yet (nbf)")


def test_one_that_begins_like_one_that_is_good_is_not():
    tokens = JsonWebTokens(SECRET)
    good = tokens.sign({"sub": "1"})
    tokens.read(good)
    header, payload, signature = good.split(".")
    other = JsonWebTokens(b"x" * 64).sign({"sub": "1"})
    for wrong in (f"{header}.{payload}.", f"{header}.{payload}", f"{header}.{payload}.{signature[:-2]}", other):
        assert answer(tokens, wrong)[0] == "INVALID_TOKEN"
        assert answer(tokens, wrong)[0] == "INVALID_TOKEN", "again"
    assert tokens.read(f"{good}=") == tokens.read(good)
    assert list(tokens._kept) == [good], "in one spelling"


def test_those_that_were_said_last_are_kept_and_no_long_ones():
    tokens = JsonWebTokens(SECRET)
    made = [tokens.sign({"sub": str(number)}) for number in range(1, TOKENS_KEPT + 10)]
    for token in made:
        tokens.read(token)
        tokens.read(made[0])
    assert list(tokens._kept) == [*made[-TOKENS_KEPT + 1 :], made[0]]
    long = tokens.sign({"sub": "1", "name": "n" * KEPT_CHARACTERS_MAX})
    tokens.read(long)
    assert long not in tokens._kept
