"""Miniature data sets in the published layouts, quirks and all; clips are readable or a line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vidoor.data import video

BOM = "\ufeff"


def line(path: Path, level: int) -> None:
    """A file that is no clip: listing must not mind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{path.name} {level}")


def noise(level: int) -> torch.Tensor:
    """Five frames of 24×30, another clip for each level."""
    rng = np.random.default_rng(level)
    return torch.from_numpy(rng.integers(0, 256, (5, 3, 24, 30), dtype=np.uint8))


def film(path: Path, level: int) -> None:
    """A clip that reads: MPEG-4 in .avi, as in the originals, lossless elsewhere."""
    video.write(path, noise(level), codec="mpeg4" if path.suffix == ".avi" else "ffv1")


def stills(path: Path, level: int) -> None:
    """A folder of frames."""
    path.mkdir(parents=True)
    for number, frame in enumerate(noise(level).permute(0, 2, 3, 1).contiguous().numpy()):
        Image.fromarray(frame).save(path / f"frame_{number:04d}.jpg")


Make = Callable[[Path, int], None]

UCF_CLASSES = ("YoYo", "HandstandPushups", "ApplyEyeMakeup")
"""In the order of their numbers, which is not that of their names."""


def ucf_clip(name: str, group: int, clip: int) -> str:
    """As the lists have it: the files of one class spell it in another way than their folder."""
    said = "HandStandPushups" if name == "HandstandPushups" else name
    return f"{name}/v_{said}_g{group:02d}_c{clip:02d}.avi"


def ucf101(root: Path, make: Make = line, home: str = "UCF-101", groups: int = 3) -> Path:
    """Every class in groups of two clips; group 1 is tested in split 01, 2 in 02, 3 in 03."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    every = [
        (number, group, ucf_clip(name, group, clip))
        for number, name in enumerate(UCF_CLASSES, start=1)
        for group in range(1, groups + 1)
        for clip in (1, 2)
    ]
    for level, (_, _, clip) in enumerate(every):
        make(root / home / clip, level)
    numbered = [f"{number} {name}" for number, name in enumerate(UCF_CLASSES, start=1)]
    write(lists / "classInd.txt", numbered, end="\r\n")
    for split in (1, 2, 3):
        test = [clip for _, group, clip in every if group == split]
        train = [f"{clip} {number}" for number, group, clip in every if group != split]
        write(lists / f"testlist0{split}.txt", test, end="\r\n")
        write(lists / f"trainlist0{split}.txt", [*train, "", ""], end="\r\n")
    return root


HMDB_CLASSES = ("brush_hair", "shoot_ball", "sit", "situp", "sword", "sword_exercise")
HMDB_NAMES = (
    "Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_le_goo_0.avi",
    "#437_How_To_Ride_A_Bike_ride_bike_f_cm_np1_ri_med_0.avi",
    "Faith_Rewarded_&_more_(2)_u_cm_np1_fr_med_3.avi",
    "plain_clip_with spaces_0.avi",
    "4x;'quoted'_f_nm_np1_ba_goo_1.avi",
)


def hmdb51(root: Path, make: Make = line, home: str = "hmdb51_org", nested: bool = False) -> Path:
    """Every class has five clips: three for training, one for testing, one for neither."""
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir(parents=True)
    for label, name in enumerate(HMDB_CLASSES):
        for clip, file in enumerate(HMDB_NAMES):
            folder = root / home / name / name if nested else root / home / name
            make(folder / file, 5 * label + clip)
        for split in (1, 2, 3):
            uses = np.roll([1, 1, 1, 2, 0], split)
            both = [f"{file} {use} " for file, use in zip(HMDB_NAMES, uses, strict=True)]
            write(lists / f"{name}_test_split{split}.txt", both)
    return root


GLOSSES = ("1", "ΑΔΕΙΑ", "ΓΕΙΑ", "ΔΕΝ ΠΕΙΡΑΖΕΙ", "ΕΓΩ(1)", "ΕΣΥ_ΔΙΝΩ_ΕΜΕΝΑ")


def gsl(root: Path, make: Make = line, suffix: str = ".mp4", signers: int = 3) -> Path:
    """Every signer signs every gloss; the last but one is for dev, the last for test."""
    lists: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for signer in range(1, signers + 1):
        part = {signers - 1: "dev", signers: "test"}.get(signer, "train")
        for number, gloss in enumerate(GLOSSES):
            clip = f"police1_signer{signer}_rep1_glosses/glosses{number:04d}"
            make(root / "Greek_isolated" / "GSL_isol" / (clip + suffix), 10 * signer + number)
            lists[part].append(f"{clip}|{gloss}")
    folder = root / "GSL_split" / "GSL_isolated"
    folder.mkdir(parents=True)
    for part, clips in lists.items():
        write(folder / f"{part}_greek_iso.csv", clips)
    write(folder / "iso_classes.csv", ["blank", *GLOSSES])
    return root


def table(root: Path, make: Make = line) -> Path:
    """A table with a column that means nothing; labels and paths hold commas and spaces."""
    rows = ["path,note,label,split"]
    for label, name in enumerate(("run", "to sit, down")):
        for clip in range(5):
            path = f"some where/{name[:3].strip()}_{clip}, take 1.mkv"
            make(root / path, 5 * label + clip)
            rows.append(f'"{path}",-,"{name}",{"test" if clip == 4 else "train"}')
    write(root / "clips.csv", rows, end="\r\n")
    return root


def folder(root: Path, make: Make = line) -> Path:
    """Two classes of five clips."""
    for label, name in enumerate(("run", "walk")):
        for clip in range(5):
            make(root / name / f"{clip}.mkv", 5 * label + clip)
    return root


def write(path: Path, lines: list[str], end: str = "\n") -> None:
    """A list with a byte order mark, and blank lines at its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((BOM + "".join(f"{line}{end}" for line in lines) + end).encode())
