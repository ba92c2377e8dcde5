"""A terminal for the tests: a command at work on it, and what stood on its screen from moment to moment."""

import codecs
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from src.runs import REPOSITORY

# Makes the terminal the one whose keys reach the command.
OWN = """import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
PART = re.compile(r"\x1b\[\?25([lh])|\x1b\[(\d*)([AK])|\x1b\[[\d;]*m|([^\x1b])", re.S)


@dataclass
class Seen:
    """code: with which the command ended; pictures: the screen's text each time before the cursor went back."""

    code: int
    pictures: list[str]
    cursor: bool  # it was shown at all times: a command that is killed leaves one

    @property
    def last(self) -> str:
        return self.pictures[-1]


class Screen:
    """Text, line by line, of so many columns and lines; what scrolls out of it can no longer be reached."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width or 80, height or 25
        self.lines, self.x, self.y, self.cursor = [""], 0, 0, True

    def feed(self, text: str) -> None:
        at = 0
        while at < len(text):
            part = PART.match(text, at)
            assert part, f"the terminal was sent {text[at : at + 20]!r}"
            at = part.end()
            if part[1]:
                self.cursor = part[1] == "h"
            elif part[3] == "A":
                self.y = max(self.y - int(part[2] or 1), len(self.lines) - self.height, 0)
            elif part[3] == "K":
                assert part[2] == "2"
                self.lines[self.y] = ""
            elif part[4]:
                self._write(part[4])

    def _write(self, one: str) -> None:
        if one == "\r":
            self.x = 0
            return
        if one == "\n" or self.x == self.width:
            self.y, self.x = self.y + 1, 0 if one != "\n" else self.x
            self.lines += [""] * (self.y == len(self.lines))
        if one != "\n":
            assert one.isprintable(), f"the terminal was sent {one!r}"
            line = self.lines[self.y].ljust(self.x)
            self.lines[self.y], self.x = line[: self.x] + one + line[self.x + 1 :], self.x + 1

    def __str__(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).rstrip()


def seen(
    words: list[str],
    width: int = 100,
    height: int = 30,
    out: Path | None = None,
    press: Callable[[str], str] = lambda _: "",
    **environment: str,
) -> Seen:
    """Let python run these words on a terminal. out: where standard output goes, else to the terminal as well.

    press: given all that was written so far, what the user types; asked until he types something.
    """
    mine, its = pty.openpty()
    termios.tcsetwinsize(its, (height, width))
    look = {
        "cwd": REPOSITORY,
        "env": os.environ | {"TERM": "xterm-256color"} | environment,
        "stdin": its,
        "stderr": its,
    }
    with open(out or os.devnull, "w") as log:
        command = [sys.executable, "-c", OWN, sys.executable, *words]
        process = subprocess.Popen(command, stdout=log if out else its, **look)
    os.close(its)
    decoder, written, typed = codecs.getincrementaldecoder("utf-8")(), "", False
    try:
        while part := os.read(mine, 65536):
            written += decoder.decode(part)
            if not typed and (keys := press(written)):
                typed = True
                os.write(mine, keys.encode())
    except OSError:  # the other end is closed
        pass
    os.close(mine)
    screen, pictures, cursor = Screen(width, height), [], True
    for frame in re.split(r"(?=\r)", written):
        screen.feed(frame)
        pictures.append(str(screen))
        cursor &= screen.cursor
    return Seen(process.wait(60), pictures, cursor)
