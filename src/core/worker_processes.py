"""Folds side by side: a process a GPU, or on a CPU one process of one thread a core, which does more than one of many.

A child is forked, so that it begins with everything imported: this process must neither have started threads nor used
a GPU before.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from src.core.console import messages_to, note
from src.core.devices import see_only
from src.core.errors import Problem
from src.core.process import end_with
from src.core.registry import extension_fault
from src.core.reporter import PacedReporter, Reporter, RowProgress

Task = Callable[[Reporter], None]
TOLD_SECONDS = 0.1  # between two messages of a child about its steps


class Pipe:
    """A child's reporter: messages and progress go to the parent, the only one that writes to the terminal."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def message(self, text: str, code: str = "") -> None:
        self.send("message", code, text)

    def show(self, row: str, progress: RowProgress) -> None:
        self.send("show", row, progress)

    def end(self, row: str, how: str = "done") -> None:
        self.send("end", row, how)

    def send(self, kind: str, *values: object) -> None:
        # A parent that is stopping has closed its end, and what is left to do is to keep the step.
        with contextlib.suppress(BrokenPipeError):
            self.connection.send((kind, values))


def run_tasks(tasks: Iterable[Task], jobs: int, reporter: Reporter, gpus: Sequence[str] = ()) -> None:
    """Run the tasks, at most `jobs` at once; with one job, in this process. Each is asked for when its turn comes.

    gpus: where there are several, what each of as many tasks at once sees of them (as CUDA_VISIBLE_DEVICES takes it);
    what one has left is the next one's. The first Problem stops the others after a checkpoint, and is raised. So is
    Ctrl-C.
    """
    if jobs == 1 and not gpus:
        for task in tasks:
            task(reporter)
        return
    waiting, free = iter(tasks), list(gpus) or [None] * jobs
    running: dict[Connection, tuple[BaseProcess, str | None]] = {}
    try:
        while True:
            while free and (task := next(waiting, None)):
                gpu = free.pop(0)
                connection, process = _start(task, gpu)
                running[connection] = process, gpu
            if not running:
                return
            for connection in wait(list(running)):
                process, gpu = running[connection]
                if not _hear(connection, process, reporter):
                    del running[connection]
                    free.append(gpu)
    except BaseException:
        _stop(running)
        raise


def _start(task: Task, gpu: str | None) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(task, gpu, theirs, os.getpid()))
    sys.stdout.flush()
    process.start()
    theirs.close()
    return ours, process


def _child(task: Task, gpu: str | None, connection: Connection, parent: int) -> None:
    end_with(parent)
    os.setpgrp()  # Ctrl-C reaches the parent alone, which asks each child once
    pipe = Pipe(connection)
    try:
        if gpu is not None:
            see_only(gpu)
        with messages_to(pipe.message):
            task(PacedReporter(pipe, TOLD_SECONDS))
    except (Problem, OSError) as problem:
        _end(pipe, 0, problem)
    except KeyboardInterrupt:
        _end(pipe, 130)
    except BaseException as error:
        fault = extension_fault(error)
        if fault is not None:
            _end(pipe, 0, fault)
        pipe.message(traceback.format_exc())
        _end(pipe, 1)
    _end(pipe, 0)


def _end(pipe: Pipe, code: int, problem: Exception | None = None) -> None:
    """End this child, and before it what loads its images: that would hold the lock and this pipe for some seconds."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # who hears of a problem stops all children, this one too
    for loader in multiprocessing.active_children():
        loader.kill()
        loader.join()
    if problem:
        pipe.send("problem", problem)
    os._exit(code)


def _hear(connection: Connection, process: BaseProcess, reporter: Reporter) -> bool:
    """One message of a child; False when it has ended well."""
    try:
        kind, values = connection.recv()
    except EOFError:
        process.join()
        if process.exitcode == 130:
            raise KeyboardInterrupt from None
        if process.exitcode != 0:
            raise Problem(
                f"a process that trained a fold ended with code {process.exitcode}; the same command goes on from its "
                f"last checkpoint (killed by the system? then less memory may help: machine.jobs=1)",
                code="process-lost",
            ) from None
        return False
    if kind == "problem":
        raise values[0]
    if kind == "message":
        note(*values)
    else:
        getattr(reporter, kind)(*values)
    return True


def _stop(running: dict[Connection, tuple[BaseProcess, str | None]]) -> None:
    """Ask every child to keep its step and end, and wait for it."""
    processes = [process for process, _ in running.values()]
    for process in processes:
        if process.is_alive():
            process.terminate()
    for connection in running:
        connection.close()  # a child that still tells something must not wait for a reader
    for process in processes:
        process.join(30)
        process.kill()
