"""Files over HTTP: upload them one by one, then send a message that names them.

What was uploaded is its uploader's alone until it is sent, which it may be for 24 hours; if it never is, it goes
an hour later. A file is taken by its ending (ALLOWED_FILE_TYPES) if its bytes agree; what it is served as is what they
say. An upload that is repeated under its `Idempotency-Key` is the same files: which they were is kept, and not what
they are called, so that nothing of one that was erased since is told.
"""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import trio

from greenroom.actors.room.files import FILES_MAX, told_of
from greenroom.http.errors import ApiError
from greenroom.http.file_types import WrongType, clean_name, ending_of, type_of
from greenroom.http.models import BinaryText, Form, Output
from greenroom.http.multipart import OVERHEAD_BYTES_MAX, FormFile, read_files
from greenroom.http.places import Place, Places
from greenroom.http.rate_limit import SlidingWindow
from greenroom.http.rest.media import media_operations
from greenroom.http.rest.rooms import key_of, now_ms, once
from greenroom.http.rest.rows import AttachmentRow
from greenroom.http.route import Answer, Call, Operations
from greenroom.settings import Settings
from greenroom.storage.postgres.uploads import Upload, Uploads

UPLOADS_AT_ONCE: Final = 128  # in the process: each holds some parts in memory, and what has come on the disk
UPLOADS_PER_USER_AT_ONCE: Final = 3
UPLOADS_PER_USER_IF_MANY: Final = 1  # once half of all are taken
UNSENT_FILES_MAX: Final = 20  # as many bytes as this many of the largest files may wait to be sent, for each user


class UploadForm(Form):
    """The file."""

    file: BinaryText


class UploadsForm(Form):
    """One file or several."""

    files: list[BinaryText]


class AttachmentList(Output):
    """The files that were taken."""

    attachments: list[AttachmentRow]


@dataclass(slots=True)
class Files:
    """What uploads need. per_minute: uploads of each user.

    folder: for files that are coming. disk_bytes_max: that they may have there together; one of the largest always may.
    """

    uploads: Uploads
    per_minute: SlidingWindow
    folder: Path
    bytes_max: int
    allowed: tuple[str, ...]
    disk_bytes_max: int
    places: Places = field(
        default_factory=lambda: Places("uploads", UPLOADS_AT_ONCE, UPLOADS_PER_USER_AT_ONCE, UPLOADS_PER_USER_IF_MANY)
    )

    coming_bytes: int = 0

    @contextmanager
    def space(self, content_length: int | None) -> Iterator[None]:
        """So much of the disk, or as much as a form may need when nobody knows. Raises: ApiError 503."""
        form_bytes_max = self.bytes_max + OVERHEAD_BYTES_MAX
        size = form_bytes_max if content_length is None else min(content_length, form_bytes_max)
        if self.coming_bytes + size > max(self.disk_bytes_max, form_bytes_max):
            text = "too much is being uploaded at once: try again soon"
            raise ApiError("SERVICE_UNAVAILABLE", text, retry_after=1)
        self.coming_bytes += size
        try:
            yield
        finally:
            self.coming_bytes -= size

    def place(self, user_id: int) -> Place:
        """One of the places for uploads; where there is none, nothing is counted. Raises: ApiError 429 and 503."""
        place = self.places.take(user_id)
        retry_after = self.per_minute.take(user_id, trio.current_time())
        if retry_after is not None:
            place.leave()
            raise ApiError("RATE_LIMIT_EXCEEDED", "too many uploads", retry_after=retry_after)
        return place


def file_operations(settings: Settings, uploads: Uploads, directory: Path) -> tuple[Operations, Operations]:
    """Uploading files and getting them. directory: the data directory. Raises: OSError."""
    folder = directory / "uploads"
    folder.mkdir(mode=0o700, exist_ok=True)
    per_minute = SlidingWindow(settings.uploads_per_minute)
    files = Files(
        uploads,
        per_minute,
        folder,
        settings.max_file_size,
        settings.allowed_file_types,
        settings.uploads_disk_bytes,
    )
    return attachment_operations(files), media_operations(uploads)


def attachment_operations(files: Files) -> Operations:
    """Uploading."""
    operations = Operations("messages")

    @operations.post("/api/messages/attachments", reads_body=UploadForm, answer=AttachmentRow, status=201)
    async def upload_file(call: Call) -> Answer:
        """Upload a file, to be sent with a message within 24 hours: a form with one field `file`."""
        answer, (told,) = await _take(call, files, ("file", "files"), 1)
        return replace(answer, data=told)

    @operations.post("/api/messaging/attachments", reads_body=UploadsForm, answer=AttachmentList, status=201)
    async def upload_files(call: Call) -> Answer:
        """Upload files: a form with a field `files` for each. Together they are as large as one may be."""
        answer, told = await _take(call, files, ("files", "file"), FILES_MAX)
        return replace(answer, data={"attachments": told})

    return operations


async def _take(
    call: Call, files: Files, fields: tuple[str, ...], count_max: int
) -> tuple[Answer, list[dict[str, Any]]]:
    """What was done, now or before, and what is told of its files."""
    user_id, key = call.user_id, key_of(call)
    with ExitStack() as closing, files.space(call.request.content_length), files.place(user_id):
        given = await read_files(
            call, fields, folder=files.folder, bytes_max=files.bytes_max, count_max=count_max, closing=closing
        )
        await call.look_again()
        if not given or not all(one.size for one in given):
            raise ApiError("UPLOAD_ERROR", "No file provided" if not given else "the file is empty")
        digest = None if key is None else await trio.to_thread.run_sync(_digest, given)
        answer = await once(call, f"POST {call.request.path}", digest, partial(_store, call, files, given))
    keys = cast("dict[str, list[str]]", answer.data)["keys"]
    found = await files.uploads.uploaded(keys, user_id, now_ms(call))
    if len(found) < len(keys):
        raise ApiError("FILE_NOT_FOUND", "what was uploaded under this Idempotency-Key is gone")
    return answer, [told_of(upload) for upload in found]


async def _store(call: Call, files: Files, given: list[FormFile]) -> Answer:
    """Again it stores others, of which nobody knows: they are never sent, and go."""
    user_id, at_ms = call.user_id, now_ms(call)
    checked = [await trio.to_thread.run_sync(_checked, one, user_id, at_ms, files.allowed) for one in given]
    for upload, one in zip(checked, given, strict=True):
        if not await files.uploads.note(upload, user_id, at_ms, UNSENT_FILES_MAX * files.bytes_max):
            text = "too much was uploaded that was not sent: send it, or wait until it goes after a day"
            raise ApiError("QUOTA_EXCEEDED", text)
        one.file.seek(0)
        await files.uploads.blobs.put(upload.key, one.file)
    return Answer({"keys": [upload.key for upload in checked]}, status=201)


def _digest(given: list[FormFile]) -> bytes:
    """Of what was sent: the names, and what is in the files. Reads them, so it is for a thread."""
    digest = hashlib.sha256()
    for one in given:
        digest.update(hashlib.sha256(one.name.encode("utf-8", "surrogatepass")).digest())
        one.file.seek(0)
        digest.update(hashlib.file_digest(cast("Any", one.file), "sha256").digest())
    return digest.digest()


def _checked(given: FormFile, user_id: int, at_ms: int, allowed: tuple[str, ...]) -> Upload:
    """Reads the file, so it is for a thread. Raises: ApiError 415."""
    name = clean_name(given.name)
    try:
        ending = ending_of(name, allowed)
        mime = type_of(given.file, ending)
    except WrongType as fault:
        number = {"number": 3102, "name": "TYPE_NOT_ALLOWED"}
        raise ApiError("INVALID_FILE_TYPE", str(fault), details=number) from None
    return Upload(f"messages/{user_id}/{at_ms}-{secrets.token_hex(16)}.{ending}", name, mime, given.size)
