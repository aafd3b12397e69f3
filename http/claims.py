"""What the claims of a JWT say: who it is of, what they are called, and since when.

The token is verified already (json_web_tokens.py); what its claims change is said in `storage/postgres/users.py`.
"""

import math
import re
from collections.abc import Mapping
from typing import Final

from greenroom.http.errors import ApiError
from greenroom.http.models import NOT_IN_A_LINE
from greenroom.storage.subjects import ISSUER_ID_LIMIT, Subject

SUBJECT_CHARACTERS_MAX: Final = 255
CLAIM_CHARACTERS_MAX: Final = 255


def subject_of(sub: object) -> Subject:
    """The subject that a `sub` claim names: a number below 2^40 is a user's id, all else an external id.

    Raises ApiError 401. Numbers beyond it are in the range that greenroom gives out: taken as ids they would name
    somebody else's user, so they are external ids like any other text.
    """
    if isinstance(sub, bool) or not isinstance(sub, int | str) or sub == "":
        raise _invalid("the token has no subject (sub)")
    text = str(sub)
    if len(text) > SUBJECT_CHARACTERS_MAX:
        raise _invalid(f"the subject (sub) has more than {SUBJECT_CHARACTERS_MAX} characters")
    if re.fullmatch(r"[1-9][0-9]{0,12}", text) and int(text) < ISSUER_ID_LIMIT:
        return int(text)
    if (isinstance(sub, int) and sub <= 0) or text == "0":
        raise _invalid("the subject (sub) is not a positive number")
    return text


def profile_of(claims: Mapping[str, object]) -> dict[str, str]:
    """What the claims say about the user, in a fixed order; what is no text is left out, and what no line may hold is
    a space: people choose their names at the issuer, too."""
    given = (
        ("name", claims.get("name")),
        ("email", claims.get("email")),
        ("locale", claims.get("locale")),
        ("timezone", claims.get("timezone", claims.get("zoneinfo"))),
        ("role", claims.get("role", claims.get("userType"))),
    )
    profile = {}
    for name, value in given:
        if isinstance(value, str):
            text = value[:CLAIM_CHARACTERS_MAX]
            if not (text.isascii() and text.isprintable()):  # nearly every text is, and is asked at every connect
                text = NOT_IN_A_LINE.sub(" ", text)
            if text := text.strip():
                profile[name] = text
    return profile


def time_claim(claims: Mapping[str, object], name: str) -> float | None:
    """The moment of a claim such as iat, in Unix seconds; None without it. Raises ApiError 401."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _invalid(f"the claim {name} is not a number of seconds")
    return float(value)


def is_signed_out(issued_at: float | None, signed_out_at: float) -> bool:
    """Whether a JWT was issued before its user signed out everywhere, or may have been."""
    return issued_at is None or issued_at <= signed_out_at


def check_signed_out(issued_at: float | None, signed_out_at: float | None) -> None:
    """Raises: ApiError 401 for such a JWT. signed_out_at: None of a user who never did."""
    if signed_out_at is not None and is_signed_out(issued_at, signed_out_at):
        raise _invalid("the user has signed out everywhere since this token was issued: get a new one")


def _invalid(message: str) -> ApiError:
    return ApiError("INVALID_TOKEN", message)
