"""One recipe, run to its end: stages in order, records written last. A finished run is a no-op."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from vidoor import SCHEMA
from vidoor.bench import evaluate, stages, store, trained
from vidoor.errors import VidoorError
from vidoor.progress import say
from vidoor.recipe import Recipe, dumps, identity, run_id
from vidoor.report.page import write_page
from vidoor.report.tables import read as read_record
from vidoor.report.tables import read_json

HEADLINE = ("clean_acc", "acc", "asr", "psnr", "ssim")
"""The numbers that a table shows first."""


def run(recipe: Recipe) -> Path:
    """Make the folder of this run, or find it made; continues what an interrupted run left."""
    splits = stages.check(recipe)
    data = identity(recipe.data)
    name = run_id(recipe, data)
    folder = recipe.runtime.out / name
    if _complete(folder):
        say(f"run {name} (seed {recipe.seed}) is complete: {folder}")
        return folder
    torch.set_num_threads(recipe.runtime.threads)
    start = time.perf_counter()
    store.make_folder(folder)
    store.write_text(folder / "recipe.toml", dumps(recipe))
    say(f"run {name} (seed {recipe.seed}): {folder}")
    trained.train_ahead(recipe, data)
    prepared = stages.prepare(recipe, splits, data)
    _, clean_curve = trained.train(recipe, prepared, poisoned=False)
    victim, curve = trained.train(recipe, prepared, poisoned=True)
    detected = time.perf_counter()
    verdicts = stages.detect(recipe, prepared, victim)
    evaluated = time.perf_counter()
    record = evaluate.evaluate(
        recipe, prepared, victim, {"clean": clean_curve, "poisoned": curve}, verdicts
    )
    store.write_arrays(folder / "scores.npz", evaluate.scores(prepared, verdicts))
    store.write_arrays(folder / "frames.npz", evaluate.frames(recipe, prepared, verdicts))
    store.write_json(folder / "env.json", store.environment())
    end = time.perf_counter()
    seconds = {
        "total": end - start,
        "train": detected - start,
        "detect": evaluated - detected,
        "evaluate": end - evaluated,
    }
    head = {"schema": SCHEMA, "run_id": name, "name": recipe.name, "seed": recipe.seed}
    store.write_json(folder / store.RESULT, {**head, **record, "seconds": seconds})
    write_page(folder)
    return folder


def _complete(folder: Path) -> bool:
    """Is the run in ``folder`` finished and whole? A lost page is drawn again."""
    if not (folder / store.RESULT).exists():
        return False
    missing = [name for name in ("scores.npz", "frames.npz") if not (folder / name).exists()]
    try:
        record = read_record(folder)
        missing += [key for key in ("seconds", "flagged", *HEADLINE) if key not in record]
    except VidoorError as error:
        missing = [str(error)]
    if missing:
        say(f"{folder} is damaged, so it is made again: {', '.join(missing)}")
        return False
    page = folder / "report.html"
    if not page.exists() or not page.stat().st_size:
        write_page(folder)
    return True


def summary(folders: Sequence[Path]) -> dict[str, Any]:
    """One JSON document for the runs of one recipe: means over the seeds, then every record."""
    records = [read_json(folder / store.RESULT) for folder in folders]
    document: dict[str, Any] = {"name": records[0]["name"], "n": len(records)}
    document |= {key: _mean(record[key] for record in records) for key in HEADLINE}
    flagged = [record["flagged"] for record in records if record["flagged"]]
    document["flagged"] = (
        {
            "detector": flagged[0]["detector"],
            **{rate: _mean(found[rate] for found in flagged) for rate in ("tpr", "fpr")},
        }
        if flagged
        else None
    )
    if len(records) > 1:
        document["sd"] = {key: _deviation([r[key] for r in records]) for key in HEADLINE}
    document["seconds"] = sum(record["seconds"]["total"] for record in records)
    document["report"] = str(folders[0] / "report.html")
    document["runs"] = [
        {"folder": str(folder), **record} for folder, record in zip(folders, records, strict=True)
    ]
    return document


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _deviation(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return stdev(known) if len(known) > 1 else None
