"""The headers that every answer has, whoever writes it: for its safety, and so that a listed page may read it."""

from typing import Final

from greenroom.http.services import Services

SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def answer_headers(services: Services, origin: str | None) -> dict[str, str]:
    """For the answer to a request from a page of *origin*, None for no page."""
    headers = {**SECURITY_HEADERS, **services.origins.cors_headers(origin)}
    if services.settings.tls_cert or (services.settings.public_url or "").startswith("https://"):
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers
