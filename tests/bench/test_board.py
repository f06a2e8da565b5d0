"""What a sweep takes up next, played through on random graphs against the definition."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.bench import board as boards
from vidoor.bench import store
from vidoor.bench.board import LATEST, SOONEST, Board
from vidoor.bench.make import Outcome
from vidoor.bench.plan import Cell
from vidoor.bench.stages import KINDS, Stage
from vidoor.recipe import Recipe

NOTHING = Recipe(data=None, trigger=None, victim=None)


def stage(name, kind="train", *needs):
    return Stage(kind, f"{kind} {name}", name, "like", {}, {need.folder: need for need in needs})


def cell(last, label=""):
    return Cell(NOTHING, label, last)


def finish(out: Path, name: str) -> None:
    (out / name).mkdir(exist_ok=True)
    store.finish(out / name, {})


# ---- the definition ------------------------------------------------------------------------------


def lacking(last, done):
    """The stages that ``last`` takes: itself and what its missing stages need, where missing."""
    if last.folder in done:
        return {}
    found = {last.folder: last}
    for need in last.needs.values():
        found |= lacking(need, done)
    return found


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


class Sweep:
    """Plays through a sweep and holds every step against the definition."""

    def __init__(self, runs, out, chance, failing, busy):
        self.runs, self.chance, self.failing, self.busy = runs, chance, failing, busy
        self.done = {path.name for path in out.iterdir()}
        self.missing = {run.folder: lacking(run, self.done) for run in runs}
        self.order = {}
        for place, run in enumerate(runs):
            for name, part in self.missing[run.folder].items():
                self.order.setdefault(name, (place, KINDS.index(part.kind), name))
        self.clock, self.back, self.looks = Clock(), {}, Counter()
        self.made, self.failed, self.running = [], {}, []
        self.board = Board([cell(run) for run in runs], out)

    def wanted(self):
        """What runs that can still be made lack."""
        live = [run for run in self.runs if run.folder not in self.failed]
        names = {name for run in live for name in self.missing[run.folder]}
        return names - self.done

    def ready(self):
        """What can be made now, the most urgent first."""
        stages = {n: part for found in self.missing.values() for n, part in found.items()}
        running = {part.folder for part in self.running}
        return sorted(
            (
                name
                for name in self.wanted() - running
                if all(need in self.done for need in stages[name].needs)
                and self.back.get(name, 0.0) <= self.clock.now
            ),
            key=self.order.__getitem__,
        )

    def play(self, workers):
        while self.board.waiting:
            free, could = workers - len(self.running), self.ready()
            taken = list(self.board.take(free))
            assert [part.folder for part in taken] == could[:free]
            self.running += taken
            if self.running:
                self.end(self.running.pop(self.chance.randrange(len(self.running))))
            else:
                assert self.clock.now < 100, "nothing runs and nothing will ever be ready"
                self.clock.now += 0.05
        assert not self.wanted()

    def end(self, part):
        name = part.folder
        if name not in self.board.waiting:
            assert name not in self.wanted()
        elif self.looks[name] < self.busy.get(name, 0):
            self.back[name] = self.clock.now + min(LATEST, SOONEST * 2 ** self.looks[name])
            self.looks[name] += 1
            self.board.postpone(name)
        elif name in self.failing:
            self.fail(part)
        else:
            self.made.append(name)
            self.done.add(name)
            self.board.complete(name)

    def fail(self, part):
        fallen = [
            run.folder
            for run in dict.fromkeys(self.runs)
            if part.folder in self.missing[run.folder] and run.folder not in self.failed
        ]
        outcome = Outcome("failed", problem=f"{part.folder} broke")
        failures = self.board.fail(part.folder, outcome)
        assert [failure.cell.stage.folder for failure in failures] == fallen
        assert {(f.stage, f.outcome) for f in failures} == {(part.label, outcome)}
        self.failed |= dict.fromkeys(fallen, part.folder)


@st.composite
def graphs(draw):
    """Runs on shared stages, and names of stages that are complete, fail, or are busy at first."""
    parts = []
    for index in range(draw(st.integers(0, 8))):
        needs = draw(st.lists(st.sampled_from(parts), max_size=3, unique=True)) if parts else []
        parts.append(stage(f"s{index}", draw(st.sampled_from(KINDS[:-1])), *needs))
    runs = []
    for index in range(draw(st.integers(1, 5))):
        needs = draw(st.lists(st.sampled_from(parts), max_size=4, unique=True)) if parts else []
        runs.append(stage(f"r{index}", "run", *needs))
    cells = draw(st.lists(st.sampled_from(runs), min_size=1, max_size=6))
    names = st.sampled_from([part.folder for part in [*parts, *runs]])
    complete, failing = draw(st.sets(names, max_size=4)), draw(st.sets(names, max_size=3))
    return cells, complete, failing, draw(st.dictionaries(names, st.integers(1, 7), max_size=3))


@settings(deadline=None, max_examples=300)  # other work on the machine is no fault of the code
@given(graphs(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_a_sweep_makes_what_it_can_in_order_and_once(graph, workers, chance):
    cells, complete, failing, busy = graph
    with TemporaryDirectory() as folder:
        out = Path(folder)
        for name in complete:
            finish(out, name)
        sweep = Sweep(cells, out, chance, failing, busy)
        with patch.object(boards, "time", sweep.clock):
            sweep.play(workers)
    assert len(set(sweep.made)) == len(sweep.made)
    for run in cells:
        lacked = sweep.missing[run.folder].keys()
        assert (run.folder in sweep.failed) == bool(lacked & failing)
        assert (run.folder in sweep.done) == (run.folder in complete or not lacked & failing)
        assert run.folder in sweep.failed or lacked <= {*sweep.made}
    assert sweep.board.failed.keys() == sweep.failed.keys()
    for name, failure in sweep.board.failed.items():
        assert failure.outcome.problem == f"{sweep.failed[name]} broke"
    assert not sweep.board.live


# ---- single features -----------------------------------------------------------------------------


def names(stages):
    return [part.folder for part in stages]


def test_cells_are_finished_one_after_the_other_and_training_comes_before_detecting(tmp_path):
    clips = stage("clips", "data")
    runs = []
    for name in "ab":
        train = stage(f"train-{name}", "train", clips)
        detect = stage(f"detect-{name}", "detect", clips)
        runs.append(stage(f"run-{name}", "run", train, detect))
    board = Board([cell(run, run.folder[-1]) for run in runs], tmp_path)
    assert names(board.take(9)) == ["clips"]
    assert names(board.take(9)) == []
    board.complete("clips")
    assert names(board.take(3)) == ["train-a", "detect-a", "train-b"]
    board.complete("train-a")
    board.complete("detect-a")
    assert names(board.take(9)) == ["run-a", "detect-b"]
    assert [board.describe(board.waiting[name].stage) for name in ("run-a", "train-b")] == [
        "run run-a (a)",
        "train train-b (b)",
    ]


def test_a_stage_of_one_unnamed_run_is_told_by_itself(tmp_path):
    run = stage("r", "run", clips := stage("c", "data"))
    assert Board([cell(run)], tmp_path).describe(clips) == "data c"


def test_what_a_complete_stage_rested_on_is_not_made_again(tmp_path):
    train = stage("train", "train", stage("clips", "data"))
    finish(tmp_path, "train")
    board = Board([cell(stage("run", "run", train))], tmp_path)
    assert names(board.take(9)) == ["run"]
    finish(tmp_path, "run")
    done = Board([cell(stage("run", "run", train))], tmp_path)
    assert not done.waiting
    assert not done.live


def test_a_failure_drops_what_only_its_runs_need_also_where_it_is_at_work(tmp_path):
    shared, other, own = stage("shared"), stage("other"), stage("own")
    runs = [stage("a", "run", shared, own), stage("b", "run", shared, other)]
    runs.append(stage("c", "run", other))
    board = Board([cell(run, run.folder) for run in runs], tmp_path)
    assert names(board.take(3)) == ["own", "shared", "other"]
    failures = board.fail("other", Outcome("failed", problem="no room"))
    assert [(f.cell.label, f.stage) for f in failures] == [
        ("b", "train other"),
        ("c", "train other"),
    ]
    assert board.waiting.keys() == {"a", "own", "shared"}
    assert board.fail("own", Outcome("failed", problem="a bug")) == [board.failed["a"]]
    assert not board.waiting
    assert [board.failed[name].outcome.problem for name in "abc"] == ["a bug", "no room", "no room"]


def test_a_stage_that_another_process_is_at_is_looked_for_less_and_less_often(tmp_path):
    clock = Clock()
    board = Board([cell(stage("run", "run"))], tmp_path)
    looks = []
    with patch.object(boards, "time", clock):
        while len(looks) < 8:
            if names(board.take(1)):
                looks.append(clock.now)
                board.postpone("run")
                assert not names(board.take(1))
            clock.now += 0.1
    gaps = [later - earlier for earlier, later in pairwise(looks)]
    assert gaps == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0], abs=0.11)
    board.complete("run")
    assert not board.waiting
