"""The files of a message, as its room takes them. Pure."""

import json
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.room.commands import Send
from greenroom.storage.postgres.uploads import Upload
from greenroom.storage.writes import AttachFiles, InsertMessage

FILES_MAX: Final = 10
KEY_CHARACTERS_MAX: Final = 200
ADDRESS: Final = "/api/media/file/"


def files_fault(keys: Sequence[str]) -> str | None:
    """Why these cannot be the files of one message, whoever has them; None when they can.

    A file is of one message once, so storage would refuse one that is named twice, as often as it is asked.
    """
    return None if len(set(keys)) == len(keys) else "one of the files is named twice: name each once"


def files_of(command: Send, insert: InsertMessage, found: Sequence[Upload]) -> AttachFiles | Refused:
    """What is stored for the files of a message. found: those of them that its sender may send."""
    fault = files_fault(command.files)
    if fault is not None:
        return Refused(RefusalCode.INVALID_CONTENT, fault)
    if len(found) != len(command.files):
        return Refused.because(RefusalCode.FILE_NOT_FOUND)
    told = json.dumps([told_of(upload) for upload in found], ensure_ascii=False, separators=(",", ":"))
    return AttachFiles(insert.conversation_id, insert.id, command.files, told)


def told_of(upload: Upload) -> dict[str, str | int]:
    """What clients are told of a file, as the existing client reads it. url: relative to the page."""
    return {
        "key": upload.key,
        "url": ADDRESS + quote(upload.key, safe=""),
        "originalName": upload.name,
        "fileSize": upload.size,
        "mimeType": upload.type,
    }
