"""Folds side by side: on a CPU one process of one thread a core does more than one process of many threads."""

import contextlib
import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from src.errors import Problem
from src.training.terminal import Teller

Task = Callable[[Teller], None]
PR_SET_PDEATHSIG = 1


class Pipe:
    """A child's teller: everything goes to the parent, the only one that writes to the terminal."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def say(self, text: str) -> None:
        self.send("say", text)

    def advance(self, steps: int) -> None:
        self.send("advance", steps)

    def send(self, kind: str, value: object) -> None:
        # A parent that is stopping has closed its end, and what is left to do is to keep the step.
        with contextlib.suppress(BrokenPipeError):
            self.connection.send((kind, value))


def run_tasks(tasks: Iterable[Task], jobs: int, teller: Teller) -> None:
    """Run the tasks, at most `jobs` at once; with one job, in this process. Each is asked for when its turn comes.

    The first Problem stops the others after a checkpoint, and is raised. So is Ctrl-C.
    """
    if jobs == 1:
        for task in tasks:
            task(teller)
        return
    waiting = iter(tasks)
    running: dict[Connection, BaseProcess] = {}
    try:
        while True:
            for task in itertools.islice(waiting, jobs - len(running)):
                connection, process = _start(task)
                running[connection] = process
            if not running:
                return
            for connection in wait(list(running)):
                if not _hear(connection, running[connection], teller):
                    running.pop(connection)
    except BaseException:
        _stop(running)
        raise


def _start(task: Task) -> tuple[Connection, BaseProcess]:
    # Forked, so that the child begins with everything imported. Nothing before this may have started threads.
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(task, theirs, os.getpid()))
    sys.stdout.flush()
    process.start()
    theirs.close()
    return ours, process


def _child(task: Task, connection: Connection, parent: int) -> None:
    if sys.platform == "linux":  # a child must not outlive a parent that was killed
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    os.setpgrp()  # Ctrl-C reaches the parent alone, which asks each child once
    pipe = Pipe(connection)
    try:
        task(pipe)
    except (Problem, OSError) as problem:
        pipe.send("problem", problem)
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _hear(connection: Connection, process: BaseProcess, teller: Teller) -> bool:
    """One message of a child; False when it has ended well."""
    try:
        kind, value = connection.recv()
    except EOFError:
        process.join()
        if process.exitcode == 130:
            raise KeyboardInterrupt from None
        if process.exitcode != 0:
            raise Problem(
                f"a process that trained a fold ended with code {process.exitcode}; the same command goes on from its "
                f"last checkpoint (killed by the system? then less memory may help: machine.jobs=1)"
            ) from None
        return False
    if kind == "problem":
        raise value
    getattr(teller, kind)(value)
    return True


def _stop(running: dict[Connection, BaseProcess]) -> None:
    """Ask every child to keep its step and end, and wait for it."""
    for process in running.values():
        if process.is_alive():
            process.terminate()
    for connection in running:
        connection.close()  # a child that still tells something must not wait for a reader
    for process in running.values():
        process.join(30)
        process.kill()
