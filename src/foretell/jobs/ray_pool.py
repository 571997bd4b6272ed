"""Work on several processes or machines by Ray Data; the only module that imports Ray, and only when it is used.

Every worker is an actor of one pool. It makes what is heavy, such as a model, once, and is then given one task after
another. Ray starts a lost worker again and gives its task to another one, so a task must do no harm when it is done
twice.

    for result in on_workers(Workers(4), make, tasks):      # make() returns a function of a task
        ...
"""

from __future__ import annotations

import logging
import math
import os
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from foretell.display import DisplayedRecord
from foretell.errors import ForetellError, InputError, MissingExtraError, UnfinishedError

__all__ = ["Workers", "connected", "in_order", "on_workers"]

Task = TypeVar("Task")
Result = TypeVar("Result")

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # a message to Ray's makers, over the network
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",  # else workers give way to everything else on the machine
}
_SEVERAL_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's switch, on for Linux: without it the address of a machine stays 127.0.0.1, which no other one can reach."""
_STORE_BYTES = 80 << 20
"""Shared memory of a session that is started here; only plans and receipts pass through it."""
_TRIES = 3
"""So often a task is given to another worker after one was lost with it."""


@dataclass(frozen=True, repr=False)
class Workers(DisplayedRecord):
    """How many processes work, and where.

    Each loads its own copy of the model. Without an address they run on this machine and only it can connect to them.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: A number is out of range.
    """

    n_workers: int
    gpus_per_worker: float = 0.0
    """Graphics processors for each worker; a fraction shares one between several."""
    address: str | None = None
    """A Ray cluster to work on: "auto" (the one that this machine is part of), or host:port; None: this machine."""

    def __post_init__(self) -> None:
        whole = isinstance(self.n_workers, int) and not isinstance(self.n_workers, bool)
        if not whole or self.n_workers < 1:
            raise InputError(f"workers: at least 1 is needed, not {self.n_workers!r}")
        if not 0.0 <= self.gpus_per_worker < math.inf:
            raise InputError(f"gpus_per_worker must be 0 or above, not {self.gpus_per_worker}")
        if find_spec("ray") is None:
            raise MissingExtraError("ray", "reading with workers")


@dataclass(frozen=True)
class _Held:
    """A value that passes through Ray's tables as it is."""

    value: Any
    error: Exception | None = None


class _Worker:
    """An actor: makes its function once, and calls it for each task that it is given."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]], folder: str) -> None:
        self._work: Callable[[Any], Any] | None = None
        with suppress(OSError):
            os.chdir(folder)  # what is named from there has the same name here
        try:
            self._work = make()
        except Exception as error:  # noqa: BLE001 - raised where the user is
            self._error = _described(error)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Work on a table of one task; what goes wrong is the answer."""
        answer = np.empty(1, dtype=object)
        if self._work is None:
            answer[0] = _Held(None, self._error)
        else:
            try:
                answer[0] = _Held(self._work(batch["task"][0].value))
            except Exception as error:  # noqa: BLE001 - raised where the user is
                answer[0] = _Held(None, _described(error))
        return {"answer": answer}


def _described(error: Exception) -> Exception:
    """Return an error that says where in the worker it happened; a user of foretell's own needs no traceback."""
    if not isinstance(error, ForetellError | OSError):
        error.add_note(f"in a worker:\n{''.join(traceback.format_exception(error))}")
    return error


def on_workers(
    workers: Workers, make: Callable[[], Callable[[Task], Result]], tasks: Sequence[Task]
) -> Iterator[Result]:
    """Yield the result of every task, as they are done.

    Args:
        workers: How many, and where.
        make: Called once in each worker, for the function that does the tasks.
        tasks: Sent to the workers one by one; a task may be done twice.

    Raises:
        InputError: There is no such cluster, or this machine has too few graphics processors.
        UnfinishedError: Tasks are left that no worker could do, because each that tried was lost.
    """
    if not tasks:
        return
    n_done = 0
    with connected(workers) as ray, _quiet_data(ray):
        items = [{"task": _Held(task)} for task in tasks]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how many tries a task has, which later versions name otherwise
            answers = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                _Worker,
                fn_constructor_args=(make, str(Path.cwd())),
                compute=ray.data.ActorPoolStrategy(
                    size=min(workers.n_workers, len(items)), max_tasks_in_flight_per_actor=1
                ),
                batch_size=1,
                num_cpus=1,
                num_gpus=workers.gpus_per_worker or None,
                max_restarts=-1,
                max_task_retries=_TRIES,
            )
        try:
            for row in answers.iter_rows():
                held = row["answer"]
                if held.error is not None:
                    raise held.error
                n_done += 1
                yield held.value
        except ray.exceptions.RayError as error:
            raise UnfinishedError(
                f"{n_done} of {len(items)} tasks are done, and the worker of another was lost {_TRIES + 1} times "
                f"({type(error).__name__}): it may need more memory; what is done is kept, so call again to go on"
            ) from error


def in_order(workers: Workers | None, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterable[Result]:
    """Return the result of every task in the order of the tasks, done by this process where there are no workers."""
    if workers is None:
        return map(work, tasks)
    numbered = on_workers(workers, lambda: lambda task: (task[0], work(task[1])), list(enumerate(tasks)))
    return [result for _, result in sorted(numbered, key=itemgetter(0))]


def _imported() -> Any:
    """Return Ray, which then neither prints nor sends anything by itself."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    return ray


@contextmanager
def connected(workers: Workers | None) -> Iterator[Any]:
    """Connect to Ray until the block ends; a session that is there already is used, and stays.

    Args:
        workers: Where; None connects to nothing.

    Raises:
        InputError: There is no such cluster, or this machine has too few graphics processors.
    """
    if workers is None:
        yield None
        return
    ray = _imported()
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"address": workers.address or "local", "logging_level": logging.ERROR}
    if workers.address is None:
        options |= {
            "num_cpus": workers.n_workers,
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
        }
    try:
        with _silent_start(), nullcontext() if workers.address else _loopback(ray):
            ray.init(log_to_driver=False, **options)
    except (ConnectionError, ValueError) as error:
        raise InputError(f"--address {workers.address}: there is no Ray cluster to connect to ({error})") from error
    try:
        needed, found = workers.gpus_per_worker, ray.cluster_resources().get("GPU", 0.0)
        if workers.address is None and needed > found:
            raise InputError(f"a worker needs {needed:g} graphics processors, and this machine has {found:g}")
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _silent_start() -> Iterator[None]:
    """Keep what the compiled part of Ray says of its own settings, past Python's streams, from the terminal."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _loopback(ray: Any) -> Iterator[None]:
    """Let what is started in the block listen to this machine only."""
    constants = ray._private.ray_constants
    before = constants.ENABLE_RAY_CLUSTER, os.environ.get(_SEVERAL_MACHINES)
    constants.ENABLE_RAY_CLUSTER, os.environ[_SEVERAL_MACHINES] = False, "0"
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before[0]
        if before[1] is None:
            del os.environ[_SEVERAL_MACHINES]
        else:
            os.environ[_SEVERAL_MACHINES] = before[1]


@contextmanager
def _quiet_data(ray: Any) -> Iterator[None]:
    """Let Ray Data print nothing, and plan for small blocks, until the block ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own settings, of which it warns itself
        context = ray.data.DataContext.get_current()
    wanted = {"enable_progress_bars": False, "print_on_execution_start": False, "target_max_block_size": 1 << 20}
    before = {name: getattr(context, name) for name in wanted}
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        for name, value in wanted.items():
            setattr(context, name, value)
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)
