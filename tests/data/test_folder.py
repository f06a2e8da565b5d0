import hashlib
import os
import shutil
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from travel import sent

from vidoor.data import video
from vidoor.data.folder import Folder
from vidoor.data.shapes import Shapes
from vidoor.errors import ClipError, DataError
from vidoor.registry import lookup
from vidoor.types import Geometry, Quarantined


def fill(root: Path, **classes: int) -> Path:
    """Class folders with so many (unreadable) clips: listing must not mind."""
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            (root / name / f"{name}_{index:02d}.avi").write_text(f"{name} {index}")
    return root


def ucf(root: Path, place: str = "") -> Path:
    """Two classes whose numbers are not in alphabetical order, and split 01."""
    fill(root, Walk=3, Jump=4)
    folder = root / place
    folder.mkdir(exist_ok=True)
    (folder / "classInd.txt").write_text("1 Walk\n2 Jump\n")
    train = ["Jump/Jump_03.avi 2", "Walk/Walk_00.avi 1", "Jump/Jump_00.avi 2"]
    (folder / "trainlist01.txt").write_text("\r\n".join(train) + "\r\n\r\n")
    (folder / "testlist01.txt").write_text("Walk/Walk_01.avi\nJump/Jump_01.avi\n")
    return root


def still(path: Path, level: int) -> Path:
    """One frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24), (level, level, level)).save(path)
    return path


def refused(folder: Folder) -> str:
    with pytest.raises(DataError) as caught:
        folder.open(0)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(DataError):
        folder.identity()
    return str(caught.value)


def test_is_registered() -> None:
    assert lookup("data", "folder") is Folder


# ---- what is listed ----------------------------------------------------------------------------


def test_classes_are_the_sorted_folders(tmp_path: Path) -> None:
    fill(tmp_path, b=4, a=4, C=4)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "a" / ".a_00.part.avi").touch()
    (tmp_path / "readme.md").touch()
    splits = Folder(root=tmp_path).open(0)
    assert splits.train.classes == splits.test.classes == ("C", "a", "b")
    assert Counter(splits.train.labels) == {0: 3, 1: 3, 2: 3}
    assert Counter(splits.test.labels) == {0: 1, 1: 1, 2: 1}
    for clips in splits.train, splits.test:
        assert clips.geometry == Geometry(16, 48, 48)
        for name, label in zip(clips.ids, clips.labels, strict=True):
            assert (tmp_path / name).is_file()
            assert name.split("/")[0] == clips.classes[label]


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(2, 9), min_size=1, max_size=4),
    holdout=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_every_class_is_held_out_in_part(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], holdout: float, seed: int
) -> None:
    names = {f"c{index}": count for index, count in enumerate(counts)}
    root = fill(tmp_path_factory.mktemp("set"), **names)
    splits = Folder(root=root, holdout=holdout).open(seed)
    train, test = splits.train.ids, splits.test.ids
    everything = [f.relative_to(root).as_posix() for f in root.glob("*/*.avi")]
    assert sorted([*train, *test]) == sorted(everything)
    for label, count in enumerate(counts):
        held = splits.test.labels.count(label)
        assert 1 <= held <= count - 1
        assert abs(held - holdout * count) <= 1
    assert splits.test.ids == Folder(root=root, holdout=holdout).open(seed).test.ids


def test_the_seed_chooses(tmp_path: Path) -> None:
    fill(tmp_path, a=20, b=20)
    tests = {Folder(root=tmp_path).open(seed).test.ids for seed in range(5)}
    assert len(tests) == 5
    everywhere = Counter(name for ids in tests for name in ids)
    assert len(everywhere) > 20


def test_nothing_is_held_out_on_request(tmp_path: Path) -> None:
    fill(tmp_path, a=1, b=2)
    splits = Folder(root=tmp_path, holdout=0).open(0)
    assert (len(splits.train), len(splits.test)) == (3, 0)


def test_train_and_test_folders_decide(tmp_path: Path) -> None:
    fill(tmp_path / "train", b=2, a=1)
    fill(tmp_path / "test", a=1)
    splits = Folder(root=tmp_path).open(0)
    assert splits.train.ids == ("train/a/a_00.avi", "train/b/b_00.avi", "train/b/b_01.avi")
    assert splits.train.labels == (0, 1, 1)
    assert (splits.test.ids, splits.test.labels) == (("test/a/a_00.avi",), (0,))
    assert splits.test.classes == ("a", "b")


@pytest.mark.parametrize("place", ["", "ucfTrainTestlist"])
def test_split_files_decide(tmp_path: Path, place: str) -> None:
    splits = Folder(root=ucf(tmp_path, place), split="01").open(0)
    assert splits.train.classes == ("Walk", "Jump")
    assert splits.train.ids == ("Jump/Jump_03.avi", "Walk/Walk_00.avi", "Jump/Jump_00.avi")
    assert splits.train.labels == (1, 0, 1)
    assert splits.test.ids == ("Walk/Walk_01.avi", "Jump/Jump_01.avi")
    assert splits.test.labels == (0, 1)


def test_class_numbers_hold_without_a_split(tmp_path: Path) -> None:
    splits = Folder(root=ucf(tmp_path)).open(0)
    assert splits.train.classes == ("Walk", "Jump")
    assert len(splits.train) + len(splits.test) == 7


def test_a_split_without_class_numbers(tmp_path: Path) -> None:
    (ucf(tmp_path) / "classInd.txt").unlink()
    (tmp_path / "trainlist01.txt").write_text("Jump/Jump_00.avi\nWalk/Walk_00.avi\n")
    splits = Folder(root=tmp_path, split="01").open(0)
    assert splits.train.classes == ("Jump", "Walk")
    assert splits.train.labels == (0, 1)


def test_split_files_in_other_encodings(tmp_path: Path) -> None:
    ucf(tmp_path)
    (tmp_path / "testlist01.txt").write_text("Walk/Walk_01.avi\n", encoding="utf-8-sig")
    assert Folder(root=tmp_path, split="01").open(0).test.ids == ("Walk/Walk_01.avi",)
    (tmp_path / "testlist01.txt").write_bytes("Walk/caf\xe9.avi\n".encode("latin-1"))
    missing = Quarantined(os.fsdecode("Walk/caf\xe9.avi".encode("latin-1")), "missing")
    assert Folder(root=tmp_path, split="01").open(0).reported == (missing,)
    name = os.fsdecode("caf\xe9.avi".encode("latin-1"))
    (tmp_path / "Walk" / name).touch()
    assert Folder(root=tmp_path, split="01").open(0).test.ids == (f"Walk/{name}",)


# ---- what is refused ---------------------------------------------------------------------------


def test_no_folder(tmp_path: Path) -> None:
    assert refused(Folder(root=Path())).startswith("data.root is empty; give")
    missing = refused(Folder(root=tmp_path / "nowhere"))
    assert missing.startswith(f"no folder {tmp_path / 'nowhere'}; set data.root")
    (tmp_path / "file").touch()
    assert refused(Folder(root=tmp_path / "file")).startswith("no folder")


def test_no_classes(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    assert "holds no clips and no class folders; give each class a folder" in refused(
        Folder(root=tmp_path)
    )


def test_empty_classes(tmp_path: Path) -> None:
    fill(tmp_path, a=2, b=0)
    assert refused(Folder(root=tmp_path)).startswith(
        f"empty class: {tmp_path / 'b'} holds no clips"
    )
    fill(tmp_path / "b" / "train", x=2)
    fill(tmp_path / "b" / "test", x=2, y=2)
    with pytest.raises(DataError, match=r"empty class: no training clip of y$"):
        Folder(root=tmp_path / "b").open(0)


def test_one_clip_cannot_be_held_out(tmp_path: Path) -> None:
    fill(tmp_path, a=2, b=1)
    with pytest.raises(DataError, match="class b has 1 clip: too few to hold out; set holdout = 0"):
        Folder(root=tmp_path).open(0)


def test_unknown_split(tmp_path: Path) -> None:
    reason = refused(Folder(root=ucf(tmp_path), split="02"))
    assert reason == f"{tmp_path}: unknown split '02'; valid: 01"
    (tmp_path / "testlist01.txt").unlink()
    assert "unknown split '01'; valid: none" in refused(Folder(root=tmp_path, split="01"))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "testlist01.txt",
            "Walk/Walk_01.avi\nWalk/x.avi\nJump/y.avi\n",
            "testlist01.txt: 2 clips are missing, first Walk/x.avi",
        ),
        (
            "testlist01.txt",
            "Jump/Jump_03.avi\nJump/Jump_00.avi\n",
            "testlist01.txt: 2 clips are in training and test, first Jump/Jump_03.avi",
        ),
        (
            "testlist01.txt",
            "Walk/Walk_01.avi\nRun/a.avi\n",
            "testlist01.txt, line 2: Run/a.avi: unknown class 'Run'; valid: Walk, Jump",
        ),
        ("testlist01.txt", "\n", "testlist01.txt lists no clips"),
        (
            "testlist01.txt",
            "clip.avi\n",
            "testlist01.txt, line 1: 'clip.avi' is not of the form Class/clip.avi",
        ),
        *(
            (
                "testlist01.txt",
                f"Walk/Walk_01.avi\n\n{line}\n",
                f"testlist01.txt, line 3: {line!r} is",
            )
            for line in ("../a.avi", "Walk/..", "/a.avi", "Walk//a.avi", "./a.avi", "Walk/\\a.avi")
        ),
        ("testlist01.txt", "/etc/Walk/a.avi\n", "line 1: '/etc/Walk/a.avi' is not of the form"),
        ("classInd.txt", "1 Walk\n2 ..\n", "classInd.txt, line 2: '..' cannot be a class"),
        ("classInd.txt", "1 /tmp\n2 Walk\n", "classInd.txt, line 1: '/tmp' cannot be a class"),
        ("trainlist01.txt", f"Walk/Walk_00.avi {'9' * 5000}\n", "its class is 1"),
        (
            "testlist01.txt",
            "Walk/Walk_01.avi\nWalk/Walk_01.avi\n",
            "1 clips are listed twice, first Walk/Walk_01.avi",
        ),
        (
            "trainlist01.txt",
            "Walk/Walk_00.avi 2\n",
            "Walk/Walk_00.avi is numbered 2, its class is 1",
        ),
        ("classInd.txt", "0 Walk\n1 Jump\n", "each line must be a number, from 1 on, and its"),
        ("classInd.txt", "1 Walk\n2 Walk\n", "each line must be a number, from 1 on, and its"),
        ("classInd.txt", "1 Walk\n2\n", "each line must be a number, from 1 on, and its"),
    ],
)
def test_split_files_that_do_not_fit(tmp_path: Path, file: str, text: str, message: str) -> None:
    (ucf(tmp_path) / file).write_text(text)
    assert message in refused(Folder(root=tmp_path, split="01", strict=True))


def test_what_split_files_get_wrong_is_reported(tmp_path: Path) -> None:
    (ucf(tmp_path) / "testlist01.txt").write_text(
        "Walk/gone.avi\nWalk/Walk_01.avi\nJump/Jump_03.avi\nWalk/Walk_01.avi\nWalk/gone.avi\n"
    )
    splits = Folder(root=tmp_path, split="01").open(0)
    assert splits.test.ids == ("Walk/Walk_01.avi",)
    assert "Jump/Jump_03.avi" in splits.train.ids and len(splits.train) == 3
    assert [(clip.id, clip.reason) for clip in splits.reported] == [
        ("Walk/gone.avi", "missing"),
        ("Walk/Walk_01.avi", "listed twice"),
        ("Jump/Jump_03.avi", "in training and test"),
    ]


@pytest.mark.parametrize("strict", [False, True])
def test_a_training_list_of_which_nothing_is_there(tmp_path: Path, strict: bool) -> None:
    (ucf(tmp_path) / "trainlist01.txt").write_text("Walk/a.avi\nJump/b.avi\n")
    folder = Folder(root=tmp_path, split="01", strict=strict)
    assert refused(folder).endswith("all 2 clips are missing, first Walk/a.avi; check data.root")


def test_class_numbers_that_do_not_fit_the_folders(tmp_path: Path) -> None:
    (ucf(tmp_path) / "classInd.txt").write_text("1 Walk\n2 Jumps\n")
    assert "its folders and classInd.txt differ in class Jump, Jumps" in refused(
        Folder(root=tmp_path)
    )


@pytest.mark.parametrize("options", [{"holdout": 1.0}, {"holdout": -0.1}, {"frames": 0}])
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"folder: .* give"):
        Folder(root=Path("x"), **options)


@pytest.mark.parametrize(
    ("frames", "size", "fits"),
    [
        (4096, (512, 1024), True),
        (4096, (512, 1025), False),
        (4097, (16, 16), False),
        (2, (8192, 8192), True),
        (2, (8193, 16), False),
        (2, (16, 8193), False),
    ],
)
def test_no_clip_is_larger_than_memory(frames: int, size: tuple[int, int], fits: bool) -> None:
    for make in (partial(Folder, root=Path("x")), Shapes):
        if fits:
            make(frames=frames, size=size)
        else:
            with pytest.raises(ValueError, match=r"(folder|shapes): .*; give [^\n]*$"):
                make(frames=frames, size=size)


# ---- a data set from a stranger ----------------------------------------------------------------


@pytest.mark.parametrize("split", [None, "01"])
@pytest.mark.parametrize("name", ["Walk/Walk_01.avi", "classInd.txt"])
def test_links_do_not_lead_out(tmp_path: Path, split: str | None, name: str) -> None:
    root = ucf(tmp_path / "set")
    within = root / "kept"
    (root / name).rename(within)
    (root / name).symlink_to(within)
    Folder(root=root, split=split).open(0)
    (root / name).unlink()
    (root / name).symlink_to(within.rename(tmp_path / "secret"))
    assert f"{root / name} is a link out of {root}" in refused(Folder(root=root, split=split))


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(fill(tmp_path / "set", a=2), target_is_directory=True)
    assert len(Folder(root=tmp_path / "link").open(0).train) == 1


def test_a_frame_does_not_lead_out(tmp_path: Path) -> None:
    still(tmp_path / "set" / "a" / "clip" / "1.jpg", 3)
    (tmp_path / "set" / "a" / "clip" / "2.jpg").symlink_to("1.jpg")
    folder = Folder(root=tmp_path / "set", holdout=0)
    assert folder.open(0).train.ids == ("a/clip",)
    still(tmp_path / "secret.jpg", 4)
    (tmp_path / "set" / "a" / "clip" / "3.jpg").symlink_to(tmp_path / "secret.jpg")
    assert "3.jpg is a link out of" in refused(folder)


# ---- identity ----------------------------------------------------------------------------------


def test_identity_is_of_the_content(tmp_path: Path) -> None:
    first = ucf(tmp_path / "a")
    second = Path(shutil.copytree(first, tmp_path / "elsewhere" / "b"))
    for split in (None, "01"):
        identity = Folder(root=first, split=split).identity()
        assert identity == Folder(root=second, split=split).identity()
        assert str(tmp_path) not in repr(identity) and "root" not in identity
    before = Folder(root=second, split="01").identity()
    (second / "Jump" / "unlisted.avi").touch()
    assert Folder(root=second, split="01").identity() == before
    assert Folder(root=second).identity() != Folder(root=first).identity()


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "Walk" / "Walk_01.avi").write_text("x"),
        lambda root: (root / "testlist01.txt").write_text("Jump/Jump_01.avi\n"),
        lambda root: (root / "classInd.txt").write_text("1 Walk\n2 Jump\n\n"),
    ],
)
def test_identity_changes_with_the_files(tmp_path: Path, change: object) -> None:
    folder = Folder(root=ucf(tmp_path), split="01")
    before = folder.identity()
    assert callable(change)
    change(tmp_path)
    after = folder.identity()
    assert before.pop("content") != after.pop("content")
    assert before == after


def test_identity_of_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a clip is left out of a run, so it must not stop one."""
    folder = Folder(root=fill(tmp_path, a=2, b=2))
    whole = folder.identity()
    real = Path.open

    def locked(path: Path, *arguments: object, **options: object) -> object:
        if path.name == "a_01.avi":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", locked)
    assert folder.identity() == folder.identity() != whole
    monkeypatch.undo()
    assert folder.identity() == whole


def test_identity_changes_with_names_and_options(tmp_path: Path) -> None:
    fill(tmp_path, a=2, b=2)
    before = Folder(root=tmp_path).identity()
    assert before != Folder(root=tmp_path, holdout=0.5).identity()
    assert before != Folder(root=tmp_path, size=(48, 56)).identity()
    (tmp_path / "a" / "a_00.avi").rename(tmp_path / "b" / "a_00.avi")
    assert before["content"] != Folder(root=tmp_path).identity()["content"]


# ---- reading -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("written")
    for label, name in enumerate(["left", "right"]):
        for index in range(3):
            clip = torch.full((5, 3, 24, 32), 100 * label + 10 * index, dtype=torch.uint8)
            video.write(root / name / f"{index}.mkv", clip)
    return root


def test_reads_what_vidoor_writes(written: Path) -> None:
    splits = Folder(root=written, frames=4, size=(24, 32), holdout=0.3).open(1)
    for clips in (splits.train, splits.test):
        for index, (name, label) in enumerate(zip(clips.ids, clips.labels, strict=True)):
            clip = clips.read(index)
            level = 100 * label + 10 * int(Path(name).stem)
            assert clip.shape == (4, 3, 24, 32) and (clip == level).all()


def test_a_folder_of_frames_is_a_clip(tmp_path: Path) -> None:
    for index in range(3):
        for number in range(4):
            still(tmp_path / "a" / f"clip{index}" / f"img_{number:05d}.jpg", 40 * index)
    video.write(tmp_path / "a" / "clip1.mkv", torch.full((4, 3, 24, 32), 255, dtype=torch.uint8))
    (tmp_path / "a" / "empty").mkdir()
    (tmp_path / "a" / ".hidden").mkdir()
    still(tmp_path / "a" / ".hidden" / "1.jpg", 9)
    folder = Folder(root=tmp_path, frames=4, size=(24, 32), holdout=0)
    train = folder.open(0).train
    assert train.ids == ("a/clip0", "a/clip1", "a/clip1.mkv", "a/clip2")
    assert [int(train.read(i).float().mean()) for i in range(4)] == [0, 40, 255, 80]
    before = folder.identity()
    (tmp_path / "a" / "clip0" / "notes.txt").touch()
    assert folder.identity() == before
    (tmp_path / "a" / "clip0" / "img_00002.jpg").rename(tmp_path / "a" / "clip0" / "img_00009.jpg")
    assert folder.identity() != before


def test_files_are_read_where_they_can_do_no_harm(written: Path) -> None:
    read = Folder(root=written).open(0).train.read
    assert read.untrusted and sent(read).untrusted


def test_reading_works_in_another_process(written: Path) -> None:
    train = Folder(root=written, frames=4, size=(24, 32)).open(0).train
    assert sent(train) == train
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert torch.equal(pool.submit(train.read, 1).result(), train.read(1))


def test_a_bad_clip_shows_when_it_is_read(tmp_path: Path) -> None:
    train = Folder(root=fill(tmp_path, a=2, b=2)).open(0).train
    with pytest.raises(ClipError, match=r"a_0\d.avi: unreadable: "):
        train.read(0)


# ---- real clips --------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["01", "02", "03", "04"])
def test_real_splits(shared_data: Path, split: str) -> None:
    root = shared_data / "arid6-mini"
    splits = Folder(root=root, split=split).open(0)
    assert splits.train.classes == ("Jump", "Run", "Sit", "Stand", "Turn", "Walk")
    for clips, part in ((splits.train, "train"), (splits.test, "test")):
        lines = (root / f"{part}list{split}.txt").read_text().split("\n")
        assert list(clips.ids) == [line.split(" ")[0] for line in lines if line]
        assert [clips.classes[k] for k in clips.labels] == [i.split("/")[0] for i in clips.ids]
    assert len(splits.train) + len(splits.test) == 246


def test_real_clips_read(shared_data: Path) -> None:
    clips = Folder(root=shared_data / "arid6-mini", split="04", size=(56, 80)).open(0).test
    for index in range(0, len(clips), 12):
        clip = clips.read(index)
        assert clip.shape == (16, 3, 56, 80) and clip.any()
        path = shared_data / "arid6-mini" / clips.ids[index]
        assert torch.equal(clip, video.read(path, clips.geometry))


def test_real_identity(shared_data: Path) -> None:
    root = shared_data / "arid6-mini"
    folder = Folder(root=root, split="04")
    splits = folder.open(0)
    names = {*splits.train.ids, *splits.test.ids}
    names |= {"classInd.txt", "trainlist04.txt", "testlist04.txt"}
    digest = hashlib.sha256()
    for name in sorted(names):
        content = hashlib.sha256((root / name).read_bytes()).hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    assert folder.identity()["content"] == digest.hexdigest()


def test_a_link_to_a_training_clip_is_no_test_clip(tmp_path: Path) -> None:
    for name in ("Run", "Walk"):
        for number in range(2):
            clip = tmp_path / "train" / name / f"{number}.mkv"
            video.write(clip, torch.full((2, 3, 16, 16), number, dtype=torch.uint8))
        (tmp_path / "test" / name).mkdir(parents=True)
        (tmp_path / "test" / name / "again.mkv").symlink_to(tmp_path / "train" / name / "0.mkv")
        clip = tmp_path / "test" / name / "new.mkv"
        video.write(clip, torch.full((2, 3, 16, 16), 9, dtype=torch.uint8))
    splits = Folder(root=tmp_path, frames=2, size=(16, 16)).open(0)
    assert splits.test.ids == ("test/Run/new.mkv", "test/Walk/new.mkv")
    assert [clip.reason for clip in splits.reported] == ["in training and test"] * 2
    with pytest.raises(DataError, match="2 clips are in training and test"):
        Folder(root=tmp_path, frames=2, size=(16, 16), strict=True).open(0)


def test_a_link_to_itself_gets_one_line(tmp_path: Path) -> None:
    (tmp_path / "Run").mkdir()
    (tmp_path / "Run" / "1.mkv").symlink_to("1.mkv")
    with pytest.raises(DataError):
        Folder(root=tmp_path).open(0)
