"""Long work tells what is done, how fast and how long it takes: a bar on a terminal, lines anywhere else."""

import os
import pty
import re
import subprocess
import sys
import termios

from src.core.paths import REPOSITORY

WORK = """
import multiprocessing, sys, threading, time
import src.core.console as p
p.LINES_SECONDS = {every}

def work():
    with p.Bar(40, "hashing", "image") as bar:
        for done in range(40):
            time.sleep(0.01)
            bar.describe(f"hashing block {{done // 20}}")
            bar.update()
    assert threading.active_count() == 1, "folds are forked off this process"

if {child}:
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    sys.exit(child.exitcode)
work()
"""


def told(every: float = 30, child: bool = False) -> str:
    """What work of 0.4 s writes to a standard error that is a file."""
    words = [sys.executable, "-c", WORK.format(every=every, child=child)]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""
    return done.stderr


def told_terminal() -> str:
    mine, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 80))
    process = subprocess.Popen([sys.executable, "-c", WORK.format(every=30, child=False)], cwd=REPOSITORY, stderr=its)
    os.close(its)
    read = b""
    try:
        while part := os.read(mine, 4096):
            read += part
    except OSError:  # the other end is closed
        pass
    os.close(mine)
    assert process.wait(60) == 0
    return read.decode()


def test_a_log_gets_a_line_now_and_then():
    lines = told(every=0.1).splitlines()
    assert 2 <= len(lines) <= 8
    line = re.compile(r"hashing block [01]: (\d+) of 40 images, [\d.]+ images/s, [\d:]+ left")
    done = [line.fullmatch(each) for each in lines]
    assert all(done), lines
    counts = [int(one[1]) for one in done]
    assert counts == sorted(set(counts)) and counts[0] > 0


def test_short_work_leaves_no_line():
    assert told() == ""


def test_a_terminal_gets_a_bar_that_goes_away():
    text = told_terminal()
    bars = re.findall(r"hashing block ([01]).*? (\d+)/40", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text))
    assert bars and bars[-1][0] == "1", text
    counts = [int(done) for _, done in bars]
    assert counts == sorted(counts) and counts[0] > 0
    assert text.endswith(("\x1b[2K", "\x1b[1A\x1b[2K")), "the bar is taken away at the end"


def test_the_parent_tells_for_its_children():
    assert told(every=0.1, child=True) == ""
