"""A terminal to run in: a pty, and what a person would have seen on it."""

import fcntl
import os
import pty
import struct
import sys
import termios
from contextlib import contextmanager


class Screen(list):
    """The rows that have scrolled by and the one that the cursor is in, as the bytes of a bar move it."""

    def __init__(self, text):
        row, column = "", 0
        for character in text:
            if character == "\n":
                self.append(row.rstrip())
                row, column = "", 0
            elif character == "\r":
                column = 0
            else:
                row = row[:column].ljust(column) + character + row[column + 1 :]
                column += 1
        self.append(row.rstrip())


@contextmanager
def terminal(monkeypatch, columns):
    """stdout and stderr are a terminal so wide; yields a function that tells what has been written to it."""
    reads, writes = pty.openpty()
    fcntl.ioctl(writes, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    os.set_blocking(reads, False)
    seen = bytearray()

    def written():
        while True:
            try:
                seen.extend(os.read(reads, 65536))
            except (BlockingIOError, OSError):
                return seen.decode().replace("\r\n", "\n")

    with open(writes, "w", encoding="utf-8", buffering=1) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        yield written
    os.close(reads)
