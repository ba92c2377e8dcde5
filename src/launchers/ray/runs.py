"""Runs on a Ray cluster: each cell is an ordinary run, written to storage that all nodes share.

A cell whose node dies is begun again on another one, where it goes on from its last checkpoint.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from types import ModuleType
from typing import Any, Protocol

from src.config.request import Request
from src.core.console import ProgressReporter, log, note
from src.core.errors import Problem
from src.core.paths import Run, has_learned, home
from src.core.reporter import Reporter, RowProgress
from src.launchers.ray import cell
from src.launchers.ray.cell import alive, arrived, needs_of, on_a_node, room_for, run_of
from src.launchers.ray.connection import connected
from src.launchers.ray.message_board import Board
from src.launchers.ray.storage import storage_held
from src.training.run import train

RETRIES = 5  # nodes that may die under one cell
LOOK_SECONDS = 0.3
STOP_SECONDS = 60  # for the cells to keep their step when they are stopped
NOT_SHARED = "{}: it is trained, but not into {}: set PODIUM_HOME to a folder that all nodes of the cluster share"

NOT_WORKING = (
    "address={}: the Ray cluster there answers and does not work ({}). Was it begun without a token, while there is "
    "one in ~/.ray/auth_token here? Then set RAY_AUTH_MODE=disabled"
)


class Watch(Protocol):
    """Who follows the cells from beside the command. Both are asked in the command's own process."""

    def poor(self, label: str) -> bool:
        """After each word of a cell: whether it should keep its step and end."""

    def over(self, label: str, problem: Exception | None) -> None:
        """It is trained, or this was wrong with it. One that was called poor may be either."""


class Nobody:
    """Watches nothing."""

    def poor(self, label: str) -> bool:
        return False

    def over(self, label: str, problem: Exception | None) -> None:
        pass


def train_on_ray(request: Request, address: str) -> None:
    """As `train`, every fold and seed a cell of its own. The first Problem stops the others, and is raised."""
    run = Run(request.competition, request.run)
    cells = {
        f"fold {fold}" + (f" seed {seed}" if seed else ""): replace(request, folds=(fold,), seeds=(seed,))
        for seed, fold in request.members
        if not run.finished(seed, fold)
    }
    if cells:
        with ProgressReporter() as terminal:
            for label in cells:
                terminal.show(label, RowProgress())
            for problem in run_on_ray(cells.items(), address, terminal, stop_at_first=True).values():
                raise problem
    train(request)  # all folds are there, and it tells what they came to


def run_on_ray(
    cells: Iterable[tuple[str, Request]],
    address: str,
    reporter: Reporter,
    watch: Watch | None = None,
    stop_at_first: bool = False,
) -> dict[str, Exception]:
    """Train the cells (label, request) on the cluster at `address`; return what was wrong with which.

    A cell is asked for when the cluster has room for it. watch: who may stop one, see Watch. Raises Problem where Ray
    is missing or does not answer, UsageError where no node has what a cell needs.
    """
    with connected(address) as ray, storage_held():
        nodes = len(alive(ray))
        log.info(f"Ray: {nodes} {'node' if nodes == 1 else 'nodes'}")
        # Told through an actor beside this process, not on a node that may die.
        beside = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=beside).remote()
        try:
            ray.get(board.take.remote())
        except ray.exceptions.RayError as error:
            raise Problem(NOT_WORKING.format(address, type(error).__name__), code="no-cluster") from None
        work = Work(ray, board, cells, reporter, watch or Nobody())
        try:
            while work.start():
                work.poll()
                if stop_at_first and work.problems:
                    break
        finally:
            work.stop()
        return work.problems


class Work:
    """The cells of one command: the one that waits, those on the cluster, and what is told of them."""

    def __init__(
        self,
        ray: ModuleType,
        board: Any,
        cells: Iterable[tuple[str, Request]],
        reporter: Reporter,
        watch: Watch,
    ) -> None:
        self.ray, self.board, self.reporter, self.watch = ray, board, reporter, watch
        self.cells = iter(cells)
        self.next: tuple[str, Request] | None = None
        self.needs: dict[Any, dict[str, int]] = {}
        self.taken: dict[str, int] = {}  # by the last cell
        self.running: dict[Any, str] = {}
        self.requests: dict[str, Request] = {}
        self.poor: set[str] = set()
        self.problems: dict[str, Exception] = {}

    def start(self) -> bool:
        """Hand over what the cluster has room for; whether anything is left to do."""
        while not self.running or len(self.running) < room_for(self.ray, self.taken):
            self.next = self.next or next(self.cells, None)
            if not self.next or not self._may_begin(self.next[1]):
                break
            label, request = self.next
            self.next, self.taken = None, self._needs(request)
            self.requests[label] = on_a_node(request)
            self.reporter.show(label, RowProgress())
            options = {"max_retries": RETRIES, "scheduling_strategy": "SPREAD", "name": label}
            handle = self.ray.remote(cell.train_cell).options(**self.taken, **options)
            self.running[handle.remote(self.requests[label], self.board, label)] = label
        return bool(self.running)

    def _needs(self, request: Request) -> dict[str, int]:
        """Asked once: where the only fitting node dies under way, cells wait for another one."""
        machine = request.config.machine
        key = machine.threads, machine.device
        self.needs[key] = self.needs.get(key) or needs_of(self.ray, request)
        return self.needs[key]

    def _may_begin(self, request: Request) -> bool:
        """Of a new run one cell goes first: it decides for the others how they train."""
        run = run_of(request)
        return has_learned(run.folder) or all(run_of(self.requests[other]) != run for other in self.running.values())

    def poll(self) -> None:
        """Wait a moment, tell what the cells told, and take note of those that are over."""
        over, _ = self.ray.wait(list(self.running), timeout=LOOK_SECONDS)
        self._relay()
        for one in over:
            label = self.running.pop(one)
            problem = self._outcome(one, label)
            if problem and label not in self.poor:
                self.problems[label] = problem
            self.watch.over(label, problem)
            self.reporter.end(label, "stopped" if label in self.poor else "failed" if problem else "done")

    def stop(self) -> None:
        """Let what still runs keep its step and end."""
        for one in self.running:
            self.ray.cancel(one)
        if self.running:
            self.ray.wait(list(self.running), num_returns=len(self.running), timeout=STOP_SECONDS)
        with contextlib.suppress(self.ray.exceptions.RayError):  # the cluster may be gone, which was told already
            self._relay()

    def _outcome(self, one: Any, label: str) -> Exception | None:
        try:
            problem = self.ray.get(one)
        except self.ray.exceptions.TaskCancelledError:
            return Problem(f"{label} was stopped", code="stopped")
        except self.ray.exceptions.RayError as error:
            return Problem(
                f"{label}: its process was lost {RETRIES + 1} times ({type(error).__name__}); the same command goes on "
                f"from its last checkpoint (killed by the system? then less memory may help)",
                code="process-lost",
            )
        return problem or (
            None
            if arrived(self.requests[label])
            else Problem(NOT_SHARED.format(label, home()), code="storage-not-shared")
        )

    def _relay(self) -> None:
        messages, rows = self.ray.get(self.board.take.remote())
        for label, progress in rows.items():
            self.reporter.show(label, progress)
        for label, told in messages:
            lines = [line if line.startswith(label) else f"{label} | {line}" for line in told.text.splitlines()]
            note(told.code, "\n".join(lines))
        heard = {
            label for label, _ in messages
        }  # only they have new epochs: storage that is slow is not read for nothing
        for one, label in self.running.items():
            if label in heard - self.poor and self.watch.poor(label):
                self.poor.add(label)
                self.ray.cancel(one)
