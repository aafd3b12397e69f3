"""What kind of file something is: by its ending, which must be allowed, and by its bytes, which must agree. Pure.

Nothing is taken for what it says that it is: a page would show or run it as that. Endings that some system runs are
never allowed, whatever the settings say, and bytes that are a program are no file of any kind.
"""

import re
import unicodedata
from collections.abc import Callable, Collection
from typing import BinaryIO, Final, NamedTuple

from greenroom.http.models import NOT_IN_A_LINE

NAME_CHARACTERS_MAX: Final = 200
HEAD_BYTES: Final = 64
PART_BYTES: Final = 256 * 1024

# What Windows, macOS, Unix or a browser runs when it is opened.
_DANGEROUS = """
    ade adp apk app appimage appx bash bat bin chm cmd com command cpl csh deb desktop dll dmg exe fish
    gadget hta htm html inf ins iso isp jar js jse ksh lnk mde mht mhtml mjs msc msi msix msp mst out
    pif pkg pl ps1 ps2 psc1 py pyw reg rpm run scf scr sct sh shb shs shtml so svg svgz swf url vb vbe
    vbs vbscript vhd vhdx wasm ws wsc wsf wsh xhtml xht xll xml xsl zsh
"""
DANGEROUS: Final = frozenset(_DANGEROUS.split())
_PROGRAMS: Final = (b"MZ", b"\x7fELF", b"#!", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\0asm")
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP: Final = b"PK\x03\x04"
_MOVIE_ATOMS: Final = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


class WrongType(ValueError):
    """The file may not be taken. The message may be shown to whoever sent it."""


class FileType(NamedTuple):
    """mime: what it is served as. fits: whether its first bytes are of it. holds: what must be somewhere in it."""

    mime: str
    fits: Callable[[bytes], bool]
    holds: bytes = b""


def _begins(*beginnings: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(beginnings)


def _is_mp4(head: bytes) -> bool:
    return head[4:8] == b"ftyp"


def _is_mov(head: bytes) -> bool:
    return head[4:8] == b"ftyp" or head[4:8] in _MOVIE_ATOMS


def _is_riff(kind: bytes) -> Callable[[bytes], bool]:
    return lambda head: head[:4] == b"RIFF" and head[8:12] == kind


_OFFICE: Final = "application/vnd.openxmlformats-officedocument."
TYPES: Final = {
    "pdf": FileType("application/pdf", _begins(b"%PDF-")),
    "jpg": FileType("image/jpeg", _begins(b"\xff\xd8\xff")),
    "jpeg": FileType("image/jpeg", _begins(b"\xff\xd8\xff")),
    "png": FileType("image/png", _begins(b"\x89PNG\r\n\x1a\n")),
    "gif": FileType("image/gif", _begins(b"GIF87a", b"GIF89a")),
    "webp": FileType("image/webp", _is_riff(b"WEBP")),
    "mp4": FileType("video/mp4", _is_mp4),
    "mov": FileType("video/quicktime", _is_mov),
    "avi": FileType("video/x-msvideo", _is_riff(b"AVI ")),
    "doc": FileType("application/msword", _begins(_OLE)),
    "xls": FileType("application/vnd.ms-excel", _begins(_OLE)),
    "ppt": FileType("application/vnd.ms-powerpoint", _begins(_OLE)),
    "docx": FileType(f"{_OFFICE}wordprocessingml.document", _begins(_ZIP), b"word/"),
    "xlsx": FileType(f"{_OFFICE}spreadsheetml.sheet", _begins(_ZIP), b"xl/"),
    "pptx": FileType(f"{_OFFICE}presentationml.presentation", _begins(_ZIP), b"ppt/"),
    "zip": FileType("application/zip", _begins(_ZIP)),
}
SHOWN_IN_PAGES: Final = frozenset(
    ("image/jpeg", "image/png", "image/gif", "image/webp", "video/mp4", "video/quicktime")
)


def clean_name(given: str) -> str:
    """The name of a file without folders, controls and what turns the direction of text; its ending stays."""
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", given.encode("utf-8", "replace").decode())[-1])
    name = NOT_IN_A_LINE.sub("", name).strip().rstrip(" .")
    stem, dot, ending = name.rpartition(".")
    if not dot:
        stem, ending = name, ""
    kept = stem[: NAME_CHARACTERS_MAX - len(ending) - 1].strip(" .")
    return f"{kept or 'file'}{dot}{ending}" if len(ending) < NAME_CHARACTERS_MAX // 2 else "file"


def ending_of(name: str, allowed: Collection[str]) -> str:
    """The ending of a clean name. Raises: WrongType when files with it are not taken."""
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    if ending in DANGEROUS or ending not in allowed:
        raise WrongType(f"files of this kind are not taken: send one of {', '.join(sorted(set(allowed) - DANGEROUS))}")
    return ending


def type_of(file: BinaryIO, ending: str) -> str:
    """The MIME type of what *file* holds, which its ending must agree with. Reads it from its beginning.

    Raises: WrongType.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    known = TYPES.get(ending)
    if head.startswith(_PROGRAMS) or (known is None and _looks_like_a_page(head)):
        raise WrongType("the file is a program")
    if known is None:
        return "application/octet-stream"
    if not known.fits(head) or (known.holds and not _holds(file, known.holds)):
        raise WrongType(f"the file is no {ending}: its content is something else")
    if known.holds and _holds(file, b"vbaProject.bin"):
        raise WrongType("documents with macros are not taken")
    return known.mime


def _looks_like_a_page(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _holds(file: BinaryIO, wanted: bytes) -> bool:
    """Whether *wanted* stands in it: the names of what a ZIP file holds do, uncompressed."""
    file.seek(0)
    kept = b""
    while part := file.read(PART_BYTES):
        if wanted in kept + part:
            return True
        kept = part[-len(wanted) :]
    return False
