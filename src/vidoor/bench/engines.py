"""Engines of others that stages, or parts of a set, are handed to: Ray clusters and Slurm."""

import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from vidoor import progress
from vidoor.bench.make import Outcome, make
from vidoor.bench.stages import Stage
from vidoor.data.ahead import in_step
from vidoor.errors import DataError, RecipeError
from vidoor.recipe import Runtime
from vidoor.spread import Workers

DIED = (
    "the process was ended from outside{how}, often for want of memory; the same command goes on "
    "from where it was, and runtime.workers=1 needs less"
)


class Handle(Protocol):
    """A stage that was handed over."""

    def done(self) -> bool:
        """Has it ended?"""
        ...

    def result(self) -> Outcome:
        """How it ended."""
        ...


PAUSE, SLURM_PAUSE = 0.02, 2.0
"""Seconds between two looks at what is running, here and where each look asks a file system."""


class Executor(Protocol):
    """Takes stages. ``free`` is how many more it wants now."""

    @property
    def pause(self) -> float:
        """Seconds between two looks at what was handed over."""
        ...

    def free(self) -> int:
        """How many stages can be handed over now."""
        ...

    def submit(self, stage: Stage) -> Handle:
        """Hand over a stage whose needs are complete."""
        ...


@dataclass(frozen=True, slots=True)
class _Engine:
    """Stages handed to an engine that queues as many as it is given."""

    send: Callable[[Stage], Any]
    deaths: tuple[type[Exception], ...]
    free: Callable[[], int] = lambda: sys.maxsize
    pause: float = PAUSE

    def submit(self, stage: Stage) -> Handle:
        return _Sent(self.send(stage), self.deaths)


@dataclass(frozen=True, slots=True)
class _Sent:
    job: Any
    deaths: tuple[type[Exception], ...]

    def done(self) -> bool:
        return bool(self.job.done())

    def result(self) -> Outcome:
        try:
            outcome: Outcome = self.job.result()
        except self.deaths as error:
            why = f" ({type(error).__name__})"
            outcome = Outcome("failed", problem=DIED.format(how=why), details=str(error))
        return outcome


def _elsewhere(stage: Stage, runtime: Runtime, quiet: bool) -> Outcome:
    progress.plain(quiet)
    return make(stage, runtime)


@contextmanager
def on_ray(runtime: Runtime, quiet: bool) -> Iterator[Executor]:
    """Stages as Ray tasks: a worker or a node that is lost costs only what it was at."""
    with _cluster(runtime, quiet) as ray:
        gpu = runtime.device == "auto" and ray.cluster_resources().get("GPU", 0) > 0
        task = ray.remote(_elsewhere).options(
            num_cpus=runtime.threads, num_gpus=runtime.gpus if gpu else 0, max_retries=3
        )
        deaths = (ray.exceptions.RayError,)
        yield _Engine(lambda stage: task.remote(stage, runtime, quiet).future(), deaths)


@contextmanager
def ray_workers(runtime: Runtime, *, quiet: bool = False) -> Iterator[Workers]:
    """``runtime.workers`` of a Ray cluster for what is ``spread``. DataError, in one line, where
    one of them cannot do its part."""
    with _cluster(runtime, quiet) as ray:

        def each(function: Callable[[range], Any], parts: Sequence[range]) -> list[Any]:
            task = ray.remote(_quietly).options(num_cpus=runtime.threads, max_retries=3)
            shared = ray.put(function)
            try:
                calls = [task.remote(shared, part, runtime.threads) for part in parts]
                return list(ray.get(calls))
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                why = type(error).__name__
                raise DataError(DIED.format(how=f" ({why})")) from None

        yield Workers(runtime.workers, each)


def _quietly(function: Callable[[range], Any], part: range, cores: int) -> Any:
    progress.plain(True)
    with in_step() if cores == 1 else nullcontext():
        return function(part)


@contextmanager
def _cluster(runtime: Runtime, quiet: bool) -> Iterator[Any]:
    """Ray, joined to the cluster at ``runtime.address``, or to one that is started for this."""
    ray = _extra("ray")
    local = {"num_cpus": runtime.workers * runtime.threads} if runtime.address == "local" else {}
    environment = {"env_vars": {"OMP_NUM_THREADS": str(runtime.threads)}}
    _reachable(runtime.address)
    try:
        ray.init(
            address=runtime.address,
            runtime_env=environment,
            include_dashboard=False,
            log_to_driver=not quiet,
            **local,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        why = (str(error).splitlines() or [""])[0]
        raise RecipeError(
            f"runtime.address = {runtime.address!r}: no Ray cluster to join ({why}); give "
            "HOST:PORT, auto, or local to start one here"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _reachable(address: str) -> None:
    """RecipeError if nothing listens at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdecimal()) or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise RecipeError(
            f"runtime.address = {address!r}: nothing answers there ({error}); start a Ray cluster, "
            "or give local to start one here"
        ) from None


@contextmanager
def on_slurm(runtime: Runtime, quiet: bool) -> Iterator[Executor]:
    """Stages as Slurm jobs, through submitit; as plain processes where there is no Slurm."""
    submitit = _extra("submitit")
    engine = submitit.AutoExecutor(folder=runtime.out / "slurm")
    gpu = (
        {"gpus_per_node": round(runtime.gpus)}
        if runtime.device == "auto" and runtime.gpus >= 1
        else {}
    )
    try:
        engine.update_parameters(
            **{"name": "vidoor", "cpus_per_task": runtime.threads, **gpu, **runtime.slurm}
        )
    except (NameError, ValueError, TypeError) as error:
        why = " ".join(str(error).split())
        raise RecipeError(f"[runtime.slurm] is refused by submitit: {why}") from None
    jobs: list[Any] = []

    def free() -> int:
        """A scheduler queues what it is given; without one, stages are processes here."""
        if engine.cluster == "slurm":
            return sys.maxsize
        jobs[:] = [job for job in jobs if not job.done()]
        return max(0, runtime.workers - len(jobs))

    def send(stage: Stage) -> Any:
        jobs.append(engine.submit(_elsewhere, stage, runtime, quiet))
        return jobs[-1]

    try:
        errors = submitit.core.utils
        pause = SLURM_PAUSE if engine.cluster == "slurm" else PAUSE
        yield _Engine(send, (errors.FailedJobError, errors.UncompletedJobError), free, pause)
    finally:
        for job in jobs:
            if not job.done():
                job.cancel()


def _extra(name: str) -> Any:
    """A package that only some users need."""
    try:
        return __import__(name)
    except ImportError:
        raise RecipeError(
            f"runtime.executor needs the package {name}; run: pip install 'vidoor[{name}]'"
        ) from None
