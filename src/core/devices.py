"""The GPUs that torch finds on this machine, and which of them a process sees.

Folds are forked, and what is forked from a process that has begun with CUDA cannot use a GPU. So whatever asks a GPU
before that does so in a process that ends (`apart`).
"""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from typing import TypeVar

import torch

from src.core.errors import Problem
from src.core.launch import launched
from src.core.process import end_with

T = TypeVar("T")
VISIBLE = "HIP_VISIBLE_DEVICES" if torch.version.hip else "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Gpus:
    """names: of those that this process may use, as VISIBLE takes them. bf16: whether all of them compute in it."""

    names: tuple[str, ...] = ()
    bf16: bool = False


def gpus() -> Gpus:
    """The GPUs for torch's device `cuda`; this process stays able to fork others that use them."""
    return _found(os.environ.get(VISIBLE))


def see_only(names: str) -> None:
    """Let this process, just forked, use these GPUs alone (several are parted by commas).

    Raises Problem where the process that it was forked from has used a GPU: then CUDA cannot begin here.
    """
    if torch.cuda.is_initialized() or torch.cuda._is_in_bad_fork():
        raise Problem(
            "a GPU was used before the work was shared out, so that no process beside this one can use any: give "
            "machine.jobs=1",
            code="gpu-in-use",
        )
    os.environ[VISIBLE] = names


def apart(ask: Callable[[], T]) -> T:
    """What `ask` returns, asked in a forked process that ends; here, where CUDA has begun already.

    Raises its Problem, and Problem where the process ends without an answer.
    """
    if torch.cuda.is_initialized():
        return ask()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(ask, theirs, os.getpid()))
    child.start()
    theirs.close()
    try:
        problem, answer = ours.recv()
    except EOFError:
        child.join()
        raise Problem(
            f"a process that tried the GPU ended with code {child.exitcode} and without an answer", code="gpu-failed"
        ) from None
    except BaseException:
        child.kill()
        raise
    finally:
        child.join()
    if problem:
        raise problem
    return answer


def _answer(ask: Callable[[], object], connection: Connection, parent: int) -> None:
    end_with(parent)  # it may hold a GPU
    try:
        connection.send((None, ask()))
    except Problem as problem:
        connection.send((problem, None))
    except KeyboardInterrupt:  # the asking process was stopped as well, and tells it
        os._exit(130)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


@cache
def _found(visible: str | None) -> Gpus:
    if not torch.backends.cuda.is_built():
        return Gpus()
    # Processes that a launcher started fork no folds, and hold threads that are best not forked.
    return _look() if launched().count > 1 else apart(_look)


def _look() -> Gpus:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    listed = os.environ.get(VISIBLE)
    names = map(str, range(count)) if listed is None else (name.strip() for name in listed.split(",")[:count])
    return Gpus(tuple(names), count > 0 and all(map(_bf16, range(count))))


def _bf16(index: int) -> bool:
    with torch.cuda.device(index):
        return torch.cuda.is_bf16_supported(including_emulation=False)
