"""Files of messages, for who may read the message, and what one has uploaded: by cookie or by Authorization.

The replaced system served them to everybody. The address is the same, relative to the page, so the page's own cookie
comes with it; whoever may not have a file is told what is told of one that is not there.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

from greenroom.http.errors import ApiError
from greenroom.http.file_types import SHOWN_IN_PAGES
from greenroom.http.models import FileBytes
from greenroom.http.rest.rooms import now_ms
from greenroom.http.route import Answer, Call, Operations
from greenroom.storage.blobs import Blobs
from greenroom.storage.postgres.uploads import Upload, Uploads

PART_BYTES: Final = 256 * 1024  # read and held at once, for each answer
ANSWERS_PER_USER_AT_ONCE: Final = 16  # a browser asks for six at a time
_RANGE: Final = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")
_NAME: Final = re.compile(r"[0-9]{1,16}-[0-9a-f]{32}\.[a-z0-9]{1,10}")
_HEADERS: Final = {
    # Should a browser be made to show it as a page after all, it is one that may do nothing.
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "Cache-Control": "private, no-cache",  # asked for again each time: the message may be deleted by then
    "Accept-Ranges": "bytes",
    "Cross-Origin-Resource-Policy": "cross-origin",  # its page may be of another origin than we are
}


def media_operations(uploads: Uploads) -> Operations:
    """The operations over a store of files."""
    operations, under_way = Operations("messages"), Counter[int]()

    @operations.get("/api/media/file/messages/{user}/{name}", whole=FileBytes, or_status=206)
    async def get_file(call: Call) -> Answer:
        """A file of a message, as its upload named it. Part of it with `Range`."""
        user_id, name = call.text("user"), call.text("name")
        upload = None
        if user_id.isascii() and user_id.isdigit() and len(user_id) <= 16 and _NAME.fullmatch(name):
            upload = await uploads.shown(f"messages/{user_id}/{name}", call.user_id, now_ms(call))
        if upload is None:
            raise ApiError("FILE_NOT_FOUND", "there is no such file, or not for you")
        if under_way[call.user_id] >= ANSWERS_PER_USER_AT_ONCE:
            raise ApiError("RATE_LIMIT_EXCEEDED", "too many files at once: take some first", retry_after=1)
        return await _file(call, upload, uploads.blobs, under_way)

    return operations


async def _file(call: Call, upload: Upload, blobs: Blobs, under_way: Counter[int]) -> Answer:
    tag = f'"{upload.key.rpartition("/")[2]}"'
    headers = {**_HEADERS, "ETag": tag, "Content-Disposition": _disposition(upload)}
    if tag in call.request.headers.get("If-None-Match", ""):
        return Answer(status=304, headers=headers, whole=b"", content_type=upload.type)
    wanted = _range(call.request.headers.get("Range"), upload.size)
    if wanted is not None and call.request.headers.get("If-Range", tag) == tag:
        start, end = wanted
        status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{upload.size}"
    else:
        status, start, end = 200, 0, upload.size
    headers["Content-Length"] = str(end - start)
    first = b""
    if call.request.method != "HEAD":  # before the status goes out: it may be that the store is away
        first = await blobs.read(upload.key, start, min(PART_BYTES, end - start))

    async def parts() -> AsyncIterator[bytes]:
        under_way[call.user_id] += 1
        try:
            if first:
                yield first
                for at in range(start + len(first), end, PART_BYTES):
                    yield await blobs.read(upload.key, at, min(PART_BYTES, end - at))
        finally:
            under_way[call.user_id] -= 1
            if not under_way[call.user_id]:
                del under_way[call.user_id]

    return Answer(status=status, headers=headers, parts=parts(), content_type=upload.type)


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """(start, end) of one range; None for none, and for what cannot be served, which may be passed over (RFC 9110)."""
    match = _RANGE.fullmatch(header or "")
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        return (max(size - int(last), 0), size) if last and int(last) else None
    start, end = int(first), min(int(last) + 1 if last else size, size)
    return (start, end) if start < end else None


def _disposition(upload: Upload) -> str:
    """Shown where a page asks for a picture or a film; all else is saved."""
    how = "inline" if upload.type in SHOWN_IN_PAGES else "attachment"
    plain = re.sub(r"[^A-Za-z0-9 ._-]", "_", upload.name)
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(upload.name, safe='')}"
