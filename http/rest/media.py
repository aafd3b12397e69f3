"""Files of messages, for who may read the message, and what one has uploaded: by cookie or by Authorization.

The replaced system served them to everybody. The address is the same, relative to the page, so the page's own cookie
comes with it; whoever may not have a file is told what is told of one that is not there.
"""

import re
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

import trio

from greenroom.http.errors import ApiError
from greenroom.http.file_types import SHOWN_IN_PAGES
from greenroom.http.models import FileBytes
from greenroom.http.places import Place, Places
from greenroom.http.rest.rooms import now_ms
from greenroom.http.route import Answer, Call, Operations
from greenroom.storage.blobs import Blobs
from greenroom.storage.postgres.uploads import Upload, Uploads

PART_BYTES: Final = 64 * 1024  # read and held at once, for each answer
ANSWERS_AT_ONCE: Final = 256  # in the process
ANSWERS_PER_USER_AT_ONCE: Final = 16  # a browser asks for six at a time
ANSWERS_PER_USER_IF_MANY: Final = 4  # once half of all are taken
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
    operations = Operations("messages")
    places = Places("files", ANSWERS_AT_ONCE, ANSWERS_PER_USER_AT_ONCE, ANSWERS_PER_USER_IF_MANY)

    @operations.get("/api/media/file/messages/{user}/{name}", whole=FileBytes, or_status=206)
    async def get_file(call: Call) -> Answer:
        """A file of a message, as its upload named it. Part of it with `Range`."""
        user_id, name = call.text("user"), call.text("name")
        upload = None
        if user_id.isascii() and user_id.isdigit() and len(user_id) <= 16 and _NAME.fullmatch(name):
            upload = await uploads.shown(f"messages/{user_id}/{name}", call.user_id, now_ms(call))
        if upload is None:
            raise ApiError("FILE_NOT_FOUND", "there is no such file, or not for you")
        with places.take(call.user_id) as place:
            return await _file(call, upload, uploads.blobs, place)

    return operations


async def _file(call: Call, upload: Upload, blobs: Blobs, place: Place) -> Answer:
    tag = f'"{upload.key.rpartition("/")[2]}"'
    headers = {**_HEADERS, "ETag": tag, "Content-Disposition": _disposition(upload)}
    unless = call.request.headers.get("If-None-Match", "")
    if unless.strip() == "*" or tag in unless:
        return Answer(status=304, headers=headers, whole=b"", content_type=upload.type)
    wanted = _range(call.request.headers.get("Range"), upload.size)
    if wanted is not None and call.request.headers.get("If-Range", tag) == tag:
        start, end = wanted
        if start >= end:  # RFC 9110 section 15.5.17
            text, told = f"the file ends before that: it has {upload.size} bytes", f"bytes */{upload.size}"
            raise ApiError("RANGE_NOT_SATISFIABLE", text, headers={"Content-Range": told})
        status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{upload.size}"
    else:
        status, start, end = 200, 0, upload.size
    headers["Content-Length"] = str(end - start)
    first = b""
    if call.request.method != "HEAD":  # before the status goes out: it may be that the store is away
        first = await blobs.read(upload.key, start, min(PART_BYTES, end - start))
    parts = _Parts(blobs, upload.key, first, start, end, place.keep())
    return Answer(status=status, headers=headers, parts=parts, content_type=upload.type)


class _Parts(AsyncIterator[bytes]):
    """What is read of a file, one part after the other, and the place of its answer. first: empty for none at all.

    No generator: one that nobody has begun, because the peer went before the answer, would keep its place for ever.
    """

    def __init__(self, blobs: Blobs, key: str, first: bytes, start: int, end: int, place: Place) -> None:
        self._blobs, self._key, self._first, self._place = blobs, key, first, place
        self._at, self._end = start, end if first else start

    async def __anext__(self) -> bytes:
        if self._at >= self._end:
            await self.aclose()
            raise StopAsyncIteration
        part, self._first = self._first, b""
        if part:
            await trio.lowlevel.checkpoint()
        else:
            part = await self._blobs.read(self._key, self._at, min(PART_BYTES, self._end - self._at))
        self._at += len(part)
        return part

    async def aclose(self) -> None:
        """The answer is over. May be called again."""
        self._place.leave()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __del__(self) -> None:
        self._place.leave()


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """(start, end) of one range, empty when nothing of it is there; None for what may be passed over (RFC 9110)."""
    match = _RANGE.fullmatch(header or "")
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1 if last else size, size)


def _disposition(upload: Upload) -> str:
    """Shown where a page asks for a picture or a film; all else is saved."""
    how = "inline" if upload.type in SHOWN_IN_PAGES else "attachment"
    plain = re.sub(r"[^A-Za-z0-9 ._-]", "_", upload.name)
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(upload.name, safe='')}"
