"""Checkpoints: found, fetched and checked, read without running anything, fitted by name."""

import hashlib
import http.server
import os
import pickle
import tarfile
import threading
import warnings
from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vidoor.errors import RecipeError, WeightsError
from vidoor.options import component, identity
from vidoor.registry import methods
from vidoor.victims import _download
from vidoor.victims import victim as victims
from vidoor.victims._download import Source
from vidoor.victims.r2plus1d import R2Plus1D

SIZE = {"width": 4, "depth": (1,)}


@pytest.fixture(scope="module")
def state():
    return victims.build(R2Plus1D(**SIZE), 5, seed=7).network.state_dict()


@pytest.fixture
def file(state, tmp_path):
    path = tmp_path / "given.pth"
    torch.save(state, path)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDOOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def web(tmp_path):
    """The address of a server of ``tmp_path``, and the requests that it was sent."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, _form, *args):
            asked.append(args[0])

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def loaded(weights, classes=5, **options):
    return victims.build(R2Plus1D(**SIZE, weights=str(weights), **options), classes, seed=0)


def same(victim, state):
    return all(torch.equal(v, state[k]) for k, v in victim.network.state_dict().items())


# What is read.


@pytest.mark.parametrize("nested", [None, "state_dict", "model_state", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_bare_or_nested_wrapped_or_not(state, tmp_path, nested, prefix, zipped):
    content = {prefix + name: value for name, value in state.items()}
    if nested:
        content = {"epoch": 3, nested: content, "optimizer": {"state": {}}}
    path = tmp_path / "w.pyth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert same(loaded(path), state)


def test_safetensors_under_any_name(state, tmp_path):
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "w.bin")
    assert same(loaded(tmp_path / "w.bin"), state)


def test_half_precision_is_widened(state, tmp_path):
    torch.save(
        {k: v.half() if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "h"
    )
    victim = loaded(tmp_path / "h")
    assert {p.dtype for p in victim.parameters()} == {torch.float32}
    assert torch.equal(victim.network.fc.bias, state["fc.bias"].half().float())


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def evil(path, marker, how):
    content = {"state_dict": Evil(marker)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")


@pytest.mark.parametrize("how", ["pickle", "zip", "legacy"])
def test_a_malicious_file_is_refused_and_not_run(tmp_path, how):
    path, marker = tmp_path / "w.pth", tmp_path / "ran"
    evil(path, marker, how)
    with pytest.raises(WeightsError, match="refused, nothing in it was run") as refused:
        loaded(path)
    assert "\n" not in str(refused.value)
    assert not marker.exists()
    torch.load(path, weights_only=False) if how != "pickle" else pickle.loads(path.read_bytes())
    assert marker.exists()  # it would have been


def test_scripts_archives_and_other_files_are_refused(tmp_path):
    script, archive, text = tmp_path / "s.pt", tmp_path / "a.tar", tmp_path / "t.txt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), script)
    text.write_text("weights")
    with tarfile.open(archive, "w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            tar.add(text, name)
    (tmp_path / "empty").touch()
    for path in (script, archive, text, tmp_path / "empty"):
        with pytest.raises(WeightsError, match="refused, nothing in it was run"):
            loaded(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds no state dict"),
        ([1, 2], "holds no state dict"),
        ({"epoch": 3}, "'epoch' is a int, not a tensor"),
        ({"model": {"a": torch.zeros(1), "b": {}}}, "'b' is a dict, not a tensor"),
        (
            {"a": torch.zeros(3, device="meta")},
            "'a' is a tensor that is empty .*; give dense, real, finite ones",
        ),
        ({"a": torch.eye(3).to_sparse()}, "'a' is a tensor that is sparse"),
        ({"a": torch.zeros(3, dtype=torch.complex64)}, "'a' is a tensor that is complex"),
        ({"a": torch.tensor([1.0, torch.nan])}, "'a' is a tensor that is not finite"),
        ({"a": torch.zeros(2).to(torch.float8_e4m3fn)}, "'a' is a tensor that is of float8_e4m3fn"),
        ({"a": torch.zeros(1).expand(10**13)}, "'a' is a tensor that is larger than its numbers"),
        (
            {"a": torch.nested.nested_tensor([torch.zeros(1)] * 2, layout=torch.jagged)},
            "'a' is a tensor that is nested",
        ),
    ],
)
def test_files_of_other_things_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "w")
    with pytest.raises(WeightsError, match=message):
        loaded(tmp_path / "w")


def test_what_is_not_finite_is_refused_in_every_format(tmp_path):
    save_file({"a": torch.tensor([1.0, torch.inf])}, tmp_path / "w")
    with pytest.raises(WeightsError, match="'a' is a tensor that is not finite"):
        loaded(tmp_path / "w")


# What fits.


def test_all_that_does_not_fit_is_told(state, tmp_path):
    other = dict(state)
    for name in ("stem.0.weight", "stem.3.weight", "layer1.0.conv1.1.bias", "stem.1.weight"):
        del other[name]
    other["extra.weight"] = torch.zeros(1)
    other["stem.4.bias"] = torch.zeros(9)
    save_file({k: v.contiguous() for k, v in other.items()}, tmp_path / "w")
    with pytest.raises(WeightsError) as refused:
        loaded(tmp_path / "w")
    told = str(refused.value)
    assert "missing: stem.0.weight, stem.1.weight, stem.3.weight and 1 more" in told
    assert "unexpected: extra.weight" in told
    assert "of another shape: stem.4.bias 9 instead of 4" in told
    assert "\n" not in told


def test_a_head_of_other_classes_stays_fresh_and_it_is_said(state, file, capsys):
    victim, fresh = loaded(file, classes=3), victims.build(R2Plus1D(**SIZE), 3, seed=0)
    for name, value in victim.network.state_dict().items():
        wanted = fresh.network.state_dict() if name.startswith("fc.") else state
        assert torch.equal(value, wanted[name])
    said = capsys.readouterr().err
    assert "of 5 classes; the head (fc) stays freshly initialised" in said


def test_a_finished_victim_never_loses_its_head(state, file):
    """``load`` is for whole victims: another number of classes is another victim."""
    with pytest.raises(WeightsError, match=r"of another shape: fc.weight 5×4 instead of 3×4"):
        victims.load(victims.build(R2Plus1D(**SIZE), 3, seed=0), file)


def test_a_head_of_another_width_is_not_excused(state, tmp_path):
    torch.save({**state, "fc.weight": torch.zeros(3, 9)}, tmp_path / "w")
    with pytest.raises(WeightsError, match=r"fc\.weight 3×9 instead of 5×4"):
        loaded(tmp_path / "w")


def test_counts_of_steps_may_be_missing(state, tmp_path):
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "w")
    assert same(loaded(tmp_path / "w"), state)


def test_weights_can_be_left_for_later(tmp_path):
    config = R2Plus1D(**SIZE, weights=str(tmp_path / "gone.pth"))
    victims.build(config, 5, 0, pretrained=False)
    with pytest.raises(WeightsError, match=r"there is no file .*gone\.pth"):
        victims.build(config, 5, 0)
    with pytest.raises(WeightsError, match="there is no file"):
        config.check()


# Where it comes from.


def test_a_pinned_file_is_fetched_once(state, file, cache, web):
    address, asked = web
    url = f"{address}/{file.name}#sha256={digest(file)}"
    assert same(loaded(url), state)
    assert same(loaded(url), state)
    assert len(asked) == 1
    (kept,) = cache.glob("*.pth")
    kept.write_bytes(b"damaged")
    assert same(loaded(url), state)
    assert len(asked) == 2


def test_another_file_than_was_meant_is_not_kept(file, cache):
    url = f"{file.as_uri()}#sha256={'0' * 64}"
    with pytest.raises(WeightsError, match=f"its SHA-256 is {digest(file)}, not 0000"):
        loaded(url)
    assert list(cache.glob("*.pth")) == []


def test_what_cannot_be_fetched_is_told_in_one_line(cache, web):
    address, _ = web
    with pytest.raises(WeightsError, match=r"cannot be fetched \(.*404.*\); fetch it elsewhere"):
        loaded(f"{address}/nothing#sha256={'0' * 64}")


@pytest.mark.parametrize("told", [0, 8, 64])
def test_a_named_checkpoint_is_compared_as_far_as_its_publisher_tells(
    state, file, cache, monkeypatch, capsys, told
):
    known = {"kinetics400": Source(file.as_uri(), digest(file)[:told])}
    monkeypatch.setattr(R2Plus1D, "checkpoints", known)
    assert same(loaded("kinetics400"), state)
    said = "".join(capsys.readouterr().err.split())
    assert (f"#sha256={digest(file)}" in said) == (told < 64)
    known["kinetics400"] = Source(file.as_uri(), "0" * 8)
    with pytest.raises(WeightsError, match="not the file that was meant"):
        loaded("kinetics400")


def test_the_cache_is_in_the_home_folder_unless_told(tmp_path, file, monkeypatch):
    monkeypatch.delenv("VIDOOR_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = _download.fetch(Source(file.as_uri(), digest(file)))
    assert path.parent == tmp_path / ".cache" / "vidoor" / "weights"


@pytest.mark.parametrize("name", [n for n in methods("victim") if n != "custom"])
def test_public_checkpoints_are_well_formed(name):
    cls = methods("victim")[name]
    assert "kinetics400" in cls.checkpoints
    for source in cls.checkpoints.values():
        assert source.url.startswith("https://")
        # Torchvision names a file by the first digits of its hash.
        assert not source.sha256 or f"-{source.sha256}." in source.url
        assert ("download.pytorch.org" in source.url) == bool(source.sha256)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("kinetics40", "unknown weights 'kinetics40'; valid: kinetics400.*or give a file"),
        ("", "unknown weights"),
        ("https://host/w.pth", "must end in #sha256= and the 64 digits"),
        ("https://host/w.pth#sha256=abc", "must end in #sha256="),
        (f"ftp://host/w.pth#sha256={'0' * 64}", "at no https, http or file address"),
    ],
)
def test_weights_that_name_nothing_are_refused_at_once(weights, message):
    with pytest.raises(ValueError, match=message):
        R2Plus1D(weights=weights)
    with pytest.raises(RecipeError, match="victim"):
        component("victim", {"kind": "r2plus1d", "weights": weights})


def test_results_depend_on_the_content_of_a_file_and_not_on_its_place(file, tmp_path):
    moved = tmp_path / "moved.pth"
    moved.write_bytes(file.read_bytes())
    first, second = (identity(R2Plus1D(**SIZE, weights=str(p))) for p in (file, moved))
    assert first == second
    assert first["weights"] == f"sha256={digest(file)}"
    moved.write_bytes(b"other")
    assert identity(R2Plus1D(**SIZE, weights=str(moved))) != first
    assert identity(R2Plus1D(**SIZE))["kind"] == "r2plus1d"
    assert "weights" not in identity(R2Plus1D(**SIZE))
