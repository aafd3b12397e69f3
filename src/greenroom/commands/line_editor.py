"""One line of text as it is typed, in a terminal that does not echo. Pure: bytes in, finished lines out.

Just enough for a chat: characters that are no controls (what joins emoji or letters is kept), backspace, Ctrl-U (all),
Ctrl-W (a word), return. Ctrl-D on an empty line is the end. Keys that send a sequence (arrows) are passed over.
"""

import codecs
import re
import unicodedata
from typing import Final

CHARACTERS_MAX: Final = 20_000  # more than a message may have, so that the server says so
_SEQUENCE = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|O.|.)?")
_BEGUN = re.compile(r"\x1b(\[[0-9;?]{0,32}[ -/]{0,8}|O)?$")  # of which the rest may come with what is read next


class LineEditor:
    """text: what has been typed of the current line. is_at_end: Ctrl-D was typed."""

    __slots__ = ("_begun", "_decoder", "is_at_end", "text")

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""  # a sequence that has not ended
        self.text = ""
        self.is_at_end = False

    def feed(self, data: bytes) -> list[str]:
        """Take what was typed; the lines that it finishes."""
        lines = []
        for character in _SEQUENCE.sub("", self._whole(self._decoder.decode(data))).replace("\t", " "):
            if character in "\r\n":
                lines.append(self.text)
                self.text = ""
            else:
                self._edit(character)
        return lines

    def _whole(self, typed: str) -> str:
        """With what has begun before, without what only begins. What follows the key Escape alone is typed."""
        if self._begun == "\x1b" and typed and typed[0] != "[":
            self._begun = ""
        typed = self._begun + typed
        begun = _BEGUN.search(typed)
        self._begun = begun[0] if begun else ""
        return typed.removesuffix(self._begun)

    def _edit(self, character: str) -> None:
        if character in "\x7f\b":
            self.text = self.text[:-1]
        elif character == "\x15":
            self.text = ""
        elif character == "\x17":
            self.text = self.text.rstrip().rpartition(" ")[0]
            self.text += " " if self.text else ""
        elif character == "\x04":
            self.is_at_end = self.is_at_end or not self.text
        elif unicodedata.category(character) != "Cc" and len(self.text) < CHARACTERS_MAX:
            self.text += character
