"""What a verb raises when it cannot go on; __main__ turns it into text and an exit code."""

from __future__ import annotations


class UsageError(Exception):
    """The command's words are off; the text says what is allowed."""


class Failed(Exception):
    """The verb has failed; the text says how, and what to do next."""

    def __init__(self, text: str, *, code: int = 1, written: str = "") -> None:
        """`written`: what it still has to write to its output."""
        super().__init__(text)
        self.code = code
        self.written = written
