"""A multipart body, read as it comes: files go to temporary files, and nothing waits in memory to be whole.

Werkzeug's parser does the parsing, and is fed by hand: its own form parser takes the whole body first.
"""

import tempfile
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

import trio
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio import multipart

from greenroom.http.errors import ApiError
from greenroom.http.route import Call

STEP_BYTES: Final = 64 * 1024  # or the rest of the form,
STEP_SECONDS_MAX: Final = 15.0  # come within so long: to trickle holds no place
PARTS_MAX: Final = 32
OVERHEAD_BYTES_MAX: Final = 64 * 1024  # of a form, besides its files
FED_BYTES_MAX: Final = 64 * 1024  # to the parser at once
PARSER_BYTES_MAX: Final = 256 * 1024  # that it may hold


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of a form. name: as it was sent. file: open, unnamed, at any place."""

    name: str
    file: BinaryIO
    size: int


async def read_files(
    call: Call, fields: Collection[str], *, folder: Path, bytes_max: int, count_max: int, closing: ExitStack
) -> list[FormFile]:
    """The files of the form under one of the names in *fields*; what else is in it is not looked at.

    folder: where they lie meanwhile, without a name, so that they are gone when the process is. closing: ends them.
    bytes_max: of one file, and of all. Raises: ApiError 400, 408, 415.
    """
    mimetype, boundary = call.request.mimetype.lower(), call.request.mimetype_params.get("boundary", "")
    if mimetype != "multipart/form-data":
        raise ApiError("INVALID_FILE_TYPE", "send the file as multipart/form-data")
    if not 0 < len(boundary) <= 200 or not boundary.isascii():
        raise ApiError("BAD_REQUEST", "the form has no boundary")
    call.refuse_coding()
    if (call.request.content_length or 0) > bytes_max + OVERHEAD_BYTES_MAX:
        raise too_large(bytes_max)
    reader = _Reader(boundary.encode(), fields, folder, bytes_max, count_max, closing)
    step_bytes = 0
    with trio.move_on_after(STEP_SECONDS_MAX) as scope:
        try:
            async for part in call.request.body:
                step_bytes += len(part)
                if step_bytes >= STEP_BYTES:
                    step_bytes, scope.deadline = 0, trio.current_time() + STEP_SECONDS_MAX
                for start in range(0, len(part), FED_BYTES_MAX):
                    reader.feed(part[start : start + FED_BYTES_MAX])
                    await trio.to_thread.run_sync(reader.write)
            reader.feed(None)
            await trio.to_thread.run_sync(reader.write)
        except RequestEntityTooLarge:
            raise too_large(bytes_max) from None
        except (ValueError, UnicodeError):
            raise ApiError("BAD_REQUEST", "the form cannot be read") from None
    if scope.cancelled_caught:
        raise ApiError("REQUEST_TIMEOUT", f"the form comes too slowly: {STEP_BYTES} bytes in {STEP_SECONDS_MAX:g} s")
    return reader.files


def too_large(bytes_max: int) -> ApiError:
    """What is said of a file that is too large, in the words of the replaced system where its limit holds."""
    limit = f"{bytes_max >> 20}MB" if bytes_max % (1 << 20) == 0 else f"{bytes_max} bytes"
    number = {"number": 3101, "name": "ATTACHMENT_TOO_LARGE"}
    return ApiError("UPLOAD_ERROR", f"File too large (max {limit})", details=number)


class _Reader:
    def __init__(
        self,
        boundary: bytes,
        fields: Collection[str],
        folder: Path,
        bytes_max: int,
        count_max: int,
        closing: ExitStack,
    ) -> None:
        self.files: list[FormFile] = []
        self._decoder = multipart.MultipartDecoder(boundary, PARSER_BYTES_MAX)
        self._parts = 0
        self._fields = fields
        self._folder = folder
        self._bytes_max = bytes_max
        self._count_max = count_max
        self._closing = closing
        self._file: BinaryIO | None = None
        self._name = ""
        self._size = self._files_size = self._other_size = 0
        self._waiting: list[tuple[BinaryIO, bytes]] = []

    def feed(self, data: bytes | None) -> None:
        """Parse what came; None at the end of it. Raises: ApiError, ValueError, RequestEntityTooLarge."""
        self._decoder.receive_data(data)
        while not isinstance(event := self._decoder.next_event(), multipart.NeedData | multipart.Epilogue):
            if isinstance(event, multipart.File | multipart.Field):
                self._parts += 1
                if self._parts > PARTS_MAX:
                    raise ApiError("UPLOAD_ERROR", f"the form has too many parts: at most {PARTS_MAX}")
            if isinstance(event, multipart.File) and event.name in self._fields:
                self._begin(event.filename)
            elif isinstance(event, multipart.Data) and self._file is not None:
                self._take(bytes(event.data), is_end=not event.more_data)
            elif isinstance(event, multipart.Data):
                self._pass_over(len(event.data))

    def write(self) -> None:
        """Write what was parsed. Waits for the disk, so it is for a thread."""
        waiting, self._waiting = self._waiting, []
        for file, data in waiting:
            file.write(data)

    def _begin(self, name: str) -> None:
        if len(self.files) >= self._count_max:
            raise ApiError("UPLOAD_ERROR", f"send at most {self._count_max} files at once")
        made = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - `closing` ends it
        self._file, self._name, self._size = cast("BinaryIO", self._closing.enter_context(made)), name, 0

    def _take(self, data: bytes, *, is_end: bool) -> None:
        assert self._file is not None
        self._size += len(data)
        self._files_size += len(data)
        if self._files_size > self._bytes_max:
            raise too_large(self._bytes_max)
        self._waiting.append((self._file, data))
        if is_end:
            self.files.append(FormFile(self._name, self._file, self._size))
            self._file = None

    def _pass_over(self, size: int) -> None:
        self._other_size += size
        if self._other_size > OVERHEAD_BYTES_MAX:
            raise ApiError("UPLOAD_ERROR", "the form holds too much besides its files")
