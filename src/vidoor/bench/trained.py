"""The stage ``train``: victims, and what was measured of them."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidoor import metrics
from vidoor.bench import store
from vidoor.bench.clips import Attacked, Clean, attacked, clean
from vidoor.bench.work import Work
from vidoor.poisoning.labels import Claim
from vidoor.report.tables import read_json
from vidoor.types import ClipSet
from vidoor.victims import victim as victims
from vidoor.victims.company import first, summon
from vidoor.victims.training import fit, pick_device, predict
from vidoor.victims.victim import Victim

WEIGHTS, HISTORY = "weights.safetensors", "history.json"
MEASURED = "measured.json"


def train(work: Work) -> None:
    """Stage ``train``: a victim of clean clips, or of poisoned ones where there is an attack."""
    clips = clean(work)
    attack = attacked(work, clips) if "poison" in work.needs else None
    labels = np.asarray(clips.test.labels)
    views, runtime = work["training"].views, work.runtime

    def measure(victim: Victim) -> dict[str, float]:
        measured = {"acc": metrics.accuracy(predict(victim, clips.test, views), labels)}
        if attack is not None:
            measured["asr"] = asr(work, predict(victim, attack.triggered, views), clips.test)
        return measured

    summon(work)
    victim, history = fit(
        _build(work, clips.train, work["seed"]),
        clips.train if attack is None else attack.poisoned,
        work["training"],
        seed=work["seed"],
        checkpoint=work.folder / store.CHECKPOINT,
        name="clean victim" if attack is None else "poisoned victim",
        checkpoint_every=runtime.checkpoint_every,
        device=runtime.device,
        workers=runtime.readers,
        together=True,
        tracker=runtime.tracker,
        logs=runtime.out / "logs" / work.folder.name,
        measure=measure,
    )
    if not first():
        return
    keep(work, victim, clips, attack)
    store.write_json(work.folder / HISTORY, history)


def join(work: Work) -> None:
    """Take part in the stage ``train`` that another process makes."""
    torch.set_num_threads(work.runtime.threads)
    train(work)


def keep(work: Work, victim: Victim, clips: Clean, attack: Attacked | None) -> None:
    """Write the weights, and what there is to tell of the victim: every run on it tells it."""
    victims.save(victim, work.folder / WEIGHTS)
    rates = {} if attack is None else _rates(work, victim, clips.test, attack.triggered)
    about = {
        "parameters": sum(p.numel() for p in victim.network.parameters()),
        "weights_sha256": _weights_hash(victim),
    }
    store.write_json(work.folder / MEASURED, {"rates": rates, "victim": about})


def _weights_hash(victim: Victim) -> str:
    """One hash of all weights, so that two runs can be compared by their records alone."""
    whole = hashlib.sha256()
    for name, value in sorted(victim.network.state_dict().items()):
        whole.update(name.encode())
        whole.update(value.cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()


def _rates(work: Work, victim: Victim, test: ClipSet, triggered: ClipSet) -> dict[str, float]:
    """ACC, and what ``success`` measures."""
    labels, views = np.asarray(test.labels), work["training"].views
    acc = metrics.accuracy(predict(victim, test, views), labels)
    return {"acc": acc, **success(work, predict(victim, triggered, views), test)}


def success(work: Work, predicted: np.ndarray, test: ClipSet) -> dict[str, float]:
    """ASR of predictions on the triggered test clips in both variants; where an attack has sources,
    also that of other classes."""
    rates = {
        "asr": asr(work, predicted, test),
        "asr_paper": asr(work, predicted, test, "paper"),
    }
    if work["poisoning"].sources:
        rates["asr_others"] = asr(work, predicted, test, "others")
    return rates


def asr(work: Work, predicted: np.ndarray, test: ClipSet, claim: Claim = "strict") -> float:
    """ASR of predictions on the triggered test clips that ``claim`` counts."""
    goal = work["poisoning"].goal(test.labels, len(test.classes), claim)
    return metrics.attack_success_rate(predicted, goal)


def load(work: Work, need: str, clips: ClipSet) -> Victim:
    """The victim that the stage ``need`` has made, on the device of this process."""
    # Weights to begin with are not asked for: these are its own.
    victim = _build(work, clips, seed=0, pretrained=False)
    victims.load(victim, work.needs[need] / WEIGHTS)
    return victim.to(pick_device(work.runtime.device)).eval()


def _build(work: Work, clips: ClipSet, seed: int, *, pretrained: bool = True) -> Victim:
    frames = work["training"].frames
    return victims.build(work["victim"], len(clips.classes), seed, frames, pretrained=pretrained)


def measured(folder: Path) -> Any:
    """``rates`` on the test clips, and the ``victim``'s size and hash."""
    return read_json(folder / MEASURED)


def history(folder: Path) -> Any:
    """What was measured after each epoch."""
    return read_json(folder / HISTORY)
