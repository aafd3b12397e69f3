"""What a token says of whom it speaks."""

from typing import Final

ISSUER_ID_LIMIT: Final = 2**40  # ids below are the application's, from here on ours
Subject = int | str  # a user's id, or an external id
