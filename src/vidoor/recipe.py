"""What a run is: a TOML file, checked at this boundary, as frozen dataclasses.

A recipe names one method per role and its options. Options are the fields of the method's own
dataclass, so a method of a third-party package is checked like a built-in one::

    [trigger]
    kind = "dft"
    rms = 1.16
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w

from vidoor.document import Document, digest
from vidoor.errors import RecipeError
from vidoor.options import (
    as_table,
    build,
    check_seed,
    component,
    identity,
    refuse_unknown,
    revision,
    table,
)
from vidoor.poisoning.poisoner import Poisoner
from vidoor.registry import GROUPS
from vidoor.victims.training import CHECKPOINT_EVERY, Training


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and on what a recipe runs. Never part of a run's identity."""

    out: Path = Path("runs")
    """Folder that results are written to."""

    device: str = "auto"
    """``auto`` (a GPU where there is one) or ``cpu``."""

    threads: int = 1
    """CPU threads of each process. Another number rounds differently."""

    executor: Literal["local", "ray", "slurm", "here"] = "local"
    """Where stages run: ``local`` processes, a ``ray`` cluster, ``slurm`` jobs, or one after
    another in this process (``here``: for debuggers)."""

    workers: int = 2
    """Stages that run at once, each in a process of its own (local)."""

    gpus: float = 1.0
    """GPUs that a stage takes where there are any: 0.5 puts two stages on each (local, ray)."""

    memory: float | None = None
    """Address space of each worker in GiB (local, Linux); a stage that asks for more fails. Leave
    it out where a GPU is used, which reserves far more than it needs."""

    address: str = "local"
    """Ray cluster to join; ``local`` starts one on this machine."""

    clip_seconds: float = 60.0
    """Longest time that reading one clip of a file may take."""

    clip_memory: float = 2.0
    """GiB that reading one clip of a file may take (Linux)."""

    cache: Path | None = None
    """Folder of decoded clips, for sets above 4 GiB; without it ``VIDOOR_CACHE``, else the user's
    caches."""

    cache_limit: float = 32.0
    """GiB that it may hold; the clips that were not used for longest go first."""

    tracker: str | None = None
    """Where training is also logged: ``tensorboard``, ``wandb`` or ``mlflow``."""

    readers: int = 0
    """Processes of a training that read its clips ahead. Clips that are held, sets of up to 4 GiB,
    need none."""

    checkpoint_every: float = CHECKPOINT_EVERY
    """Seconds between two checkpoints within an epoch."""

    slurm: Mapping[str, Any] = field(default_factory=dict)
    """What submitit is told beside threads and GPUs, e.g. ``slurm_partition``, ``timeout_min``."""

    def __post_init__(self) -> None:
        if not 0 < self.gpus < math.inf:
            raise ValueError(f"gpus must be a number > 0, not {self.gpus}")
        if not (0 <= self.readers <= 1024 and 0 <= self.checkpoint_every < math.inf):
            raise ValueError(
                "readers must be in 0..1024 and checkpoint_every a number >= 0, not "
                f"{self.readers} and {self.checkpoint_every}"
            )
        limits = (self.clip_seconds, self.clip_memory, self.cache_limit)
        if not all(0 < limit < math.inf for limit in limits):
            raise ValueError(
                f"clip_seconds, clip_memory and cache_limit must be numbers > 0, not {limits}"
            )
        if self.memory is not None and not 0 < self.memory < math.inf:
            raise ValueError(f"memory must be a number of GiB > 0, not {self.memory}")
        if not (1 <= self.threads <= 1024 and 1 <= self.workers <= 1024):
            raise ValueError(
                f"threads and workers must be in 1..1024, not {self.threads} and {self.workers}"
            )
        if self.device not in ("auto", "cpu"):
            raise ValueError(f"device must be 'auto' or 'cpu', not {self.device!r}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run, resolved: every option has its value."""

    name: str = "run"
    """What tables and pages call it."""

    arm: str = ""
    """The arm of a grid that this is; tables tell arms apart by it."""

    note: str = ""
    """A sentence that stands beside the numbers wherever they are shown."""

    controls: bool = False
    """Also run every detector where there is nothing to be found, on clean clips and the clean
    victim, so that its false alarms stand beside its hits."""

    seed: int = 0
    """Seed of the data, the poisoning plan, the initial weights and the order of training."""

    data: Any
    trigger: Any
    poisoning: Poisoner = field(default_factory=Poisoner)
    victim: Any
    training: Training = field(default_factory=Training)
    detector: Mapping[str, Any] = field(default_factory=dict)
    """Detectors by the name of their table; its ``kind`` is that name unless given."""

    mitigation: Mapping[str, Any] = field(default_factory=dict)
    """Mitigations, named in the same way."""

    probe: Mapping[str, Any] = field(default_factory=dict)
    """Triggers of the test, by name: is the victim also taken in by these, which it was not
    trained with ("collateral damage", the paper's section 4.5)? What a table says changes the
    recipe's own trigger; one with a ``kind`` is a trigger of its own."""

    runtime: Runtime = field(default_factory=Runtime)

    def __post_init__(self) -> None:
        check_seed(self.seed)


PLAIN: Mapping[str, tuple[type, str]] = {
    "name": (str, "a string"),
    "arm": (str, "a string"),
    "note": (str, "a string"),
    "seed": (int, "a whole number"),
    "controls": (bool, "true or false"),
}
"""What a recipe says outside of any table, and the type of each."""

LAYOUTS = ("table", "figure")
"""Tables of a recipe that say how its runs are shown."""

NAMED = ("detector", "mitigation")
"""Groups of which a recipe may use several methods, each in a table with a name."""

STRENGTHS = {"delta", "rms"}
"""Two ways to say one thing: a probe that gives one of them does without the other."""


def parse(document: Document) -> Recipe:
    """The recipe that ``document`` describes. RecipeError, one line, if it describes none."""
    values = dict(document)
    refuse_unknown(values, Recipe, "", ("grid", *LAYOUTS))
    for spec in fields(Recipe):
        if spec.name in NAMED:
            values[spec.name] = _named(spec.name, values.get(spec.name, {}))
        elif spec.name == "probe":
            continue  # of the trigger, once there is one
        elif spec.name in GROUPS and spec.name in values:
            values[spec.name] = component(spec.name, values[spec.name])
        elif spec.name in values and isinstance(spec.type, type) and is_dataclass(spec.type):
            values[spec.name] = build(spec.type, values[spec.name], spec.name)
        elif spec.name not in values and _required(spec):
            raise RecipeError(f"the recipe has no [{spec.name}] table; it needs at least a kind")
    values["probe"] = _probes(values["trigger"], values.get("probe", {}))
    plain = {name: values.pop(name) for name in PLAIN if name in values}
    for name, value in plain.items():
        kind, called = PLAIN[name]
        if type(value) is not kind:
            raise RecipeError(f"{name} must be {called}, not {value!r}")
    try:
        return Recipe(**plain, **values)
    except ValueError as error:
        raise RecipeError(str(error)) from None


def _named(group: str, tables: Any) -> dict[str, Any]:
    return {
        name: component(group, {"kind": name, **as_table(options, f"{group}.{name}")}, name)
        for name, options in as_table(tables, group).items()
    }


def _probes(trigger: Any, tables: Any) -> dict[str, Any]:
    """The triggers of the test; ``trigger`` is the one that they change."""
    probes = {}
    for name, options in as_table(tables, "probe").items():
        where = f"probe.{name}"
        changes = as_table(options, where)
        dropped = STRENGTHS if STRENGTHS & {*changes} else set()
        own = {key: value for key, value in table(trigger).items() if key not in dropped}
        told = changes if {"kind", "preset"} & {*changes} else {**own, **changes}
        probes[name] = component("trigger", told, where=where)
    return probes


def _required(spec: Any) -> bool:
    return spec.default is MISSING and spec.default_factory is MISSING


def document(recipe: Recipe) -> dict[str, Any]:
    """The recipe as a TOML-ready document, every option written out, options that are None left
    out. ``parse(document(recipe)) == recipe``."""
    written = {}
    for spec in fields(recipe):
        value = getattr(recipe, spec.name)
        if spec.name == "probe" and not value:
            continue  # recipes without any have the identity that they had before there were probes
        if spec.name in (*NAMED, "probe"):
            written[spec.name] = {name: table(method) for name, method in value.items()}
        elif is_dataclass(value):
            written[spec.name] = table(value)
        else:
            written[spec.name] = value
    return written


def settled(recipe: Recipe) -> dict[str, Any]:
    """The document of the recipe without what no result depends on: what records hold."""
    return {key: value for key, value in document(recipe).items() if key != "runtime"}


def dumps(recipe: Recipe) -> str:
    """The recipe as TOML."""
    return tomli_w.dumps(document(recipe))


def run_id(recipe: Recipe, data: Mapping[str, Any] | None = None) -> str:
    """Hash of the resolved recipe, without output, device and worker settings.

    ``data`` is the identity of the data, if it is known already: it may take reading every file.
    """
    data = identity(recipe.data) if data is None else data
    told: dict[str, Any] = {"revisions": revised} if (revised := _revisions(recipe)) else {}
    return digest({**settled(recipe), "data": data, **told})


def _revisions(recipe: Recipe) -> dict[str, Any]:
    """The revisions of all methods, by name; a name that is taken has its group before it."""
    methods = [("trigger", "", recipe.trigger), ("victim", "", recipe.victim)]
    for group in (*NAMED, "probe"):
        methods += [(group, name, one) for name, one in getattr(recipe, group).items()]
    found: dict[str, Any] = {}
    for group, name, one in methods:
        if told := revision(one):
            found[f"{group}.{name}" if name in found else name or group] = told
    return found
