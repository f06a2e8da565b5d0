"""What every registered trigger must do, in every preset. Registering one is enough to be here.

A trigger with options that cannot fit a small clip says so (TriggerError); it must then work at the
paper's size. Its ``strength`` names the option, or the options of which one is given, whose zero
leaves a clip alone.
"""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from travel import sent

from vidoor.errors import TriggerError
from vidoor.metrics import psnr
from vidoor.options import build, table
from vidoor.registry import methods
from vidoor.types import Geometry

PAPER = Geometry(32, 224, 224)
GEOMETRIES = [
    Geometry(16, 48, 48),
    Geometry(7, 33, 50),
    Geometry(1, 16, 17),
    Geometry(50, 20, 20),
    Geometry(2, 32, 32),
]


def strengths(cls, options):
    declared = getattr(cls, "strength", ("delta", "rms"))
    return {declared} if isinstance(declared, str) else set(declared) & set(options)


def cases():
    """Each preset of each trigger, and in each temporal mode where it has these."""
    for name, cls in methods("trigger").items():
        modes = ["static", "dynamic"] if "temporal" in {f.name for f in fields(cls)} else [None]
        for preset, options in (getattr(cls, "presets", {}) or {"default": {}}).items():
            for mode in modes:
                temporal = {} if mode is None else {"temporal": mode}
                label = "-".join(filter(None, (name, preset, mode)))
                yield pytest.param(cls, {**options, **temporal}, id=label)


CASES = list(cases())
SCALABLE = [
    case
    for case in CASES
    # The stretch is a trigger by itself, whatever the strength.
    if strengths(*case.values) and case.values[1].get("projection") != "stretch"
]


def noise(geometry, seed=0):
    frames, height, width = geometry
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (frames, 3, height, width), dtype=np.uint8))


def fitting(trigger, geometry):
    """The geometry, or the paper's if the trigger says that it does not fit clips of this one."""
    try:
        trigger(noise(geometry))
    except TriggerError as error:
        assert len(str(error).splitlines()) == 1
        return PAPER
    return geometry


@pytest.mark.parametrize(("cls", "options"), CASES)
class TestEveryTrigger:
    @pytest.mark.parametrize("geometry", GEOMETRIES)
    def test_shape_dtype_and_the_input_left_alone(self, cls, options, geometry):
        trigger = cls(**options)
        clip = noise(fitting(trigger, geometry))
        before = clip.clone()
        out = trigger(clip)
        assert out.shape == clip.shape
        assert out.dtype == torch.uint8
        assert out.is_contiguous()
        assert torch.equal(clip, before)
        assert out.untyped_storage().data_ptr() != clip.untyped_storage().data_ptr()

    def test_the_darkest_and_the_brightest_clip(self, cls, options):
        trigger = cls(**options)
        shape = noise(fitting(trigger, GEOMETRIES[0])).shape
        for level in (0, 255):
            out = trigger(torch.full(shape, level, dtype=torch.uint8))
            assert out.shape == shape
            assert out.dtype == torch.uint8

    def test_it_works_on_the_device_of_the_clip(self, cls, options):
        # The device without memory refuses tensors of the CPU as a GPU does; no bytes come of it.
        clip = noise(fitting(cls(**options), Geometry(5, 33, 40)))
        out = cls(**options)(clip.to("meta"))
        assert (out.device.type, out.shape, out.dtype) == ("meta", clip.shape, clip.dtype)

    def test_a_batch_is_a_loop(self, cls, options):
        trigger = cls(**options)
        geometry = fitting(trigger, Geometry(5, 33, 40))
        clips = [noise(geometry, seed) for seed in range(2)]
        out = trigger(torch.stack(clips))
        assert out.is_contiguous()
        assert torch.equal(out, torch.stack([trigger(clip) for clip in clips]))

    def test_the_layout_in_memory_does_not_matter(self, cls, options):
        trigger = cls(**options)
        clip = noise(fitting(trigger, Geometry(5, 33, 40)))
        channels_last = clip.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        assert not channels_last.is_contiguous()
        out = trigger(channels_last)
        assert out.is_contiguous()
        assert torch.equal(out, trigger(clip))

    def test_the_same_bytes_every_time_and_from_a_copy(self, cls, options):
        trigger = cls(**options)
        clip = noise(fitting(trigger, Geometry(9, 24, 31)))
        again = cls(**options)
        assert again == trigger
        assert torch.equal(again(clip), trigger(clip))
        assert torch.equal(sent(trigger)(clip), trigger(clip))

    def test_it_changes_something(self, cls, options):
        trigger = cls(**options)
        clip = noise(fitting(trigger, GEOMETRIES[0]))
        assert not torch.equal(trigger(clip), clip)

    def test_it_goes_through_a_recipe_unchanged(self, cls, options):
        trigger = cls(**options)
        written = json.loads(json.dumps(table(trigger)))
        written.pop("kind")
        again = build(cls, written, "trigger")
        assert again == trigger
        assert hash(again) == hash(trigger)
        clip = noise(fitting(trigger, Geometry(9, 24, 31)))
        assert torch.equal(again(clip), trigger(clip))

    def test_what_it_tells_about_itself_is_json(self, cls, options):
        trigger = cls(**options)
        describe = getattr(trigger, "describe", dict)  # optional
        if describe is not dict:
            json.dumps(describe(fitting(trigger, GEOMETRIES[0])), allow_nan=False)


@pytest.mark.parametrize(("cls", "options"), SCALABLE)
class TestEveryStrength:
    def test_zero_is_the_identity(self, cls, options):
        none = {**options, **dict.fromkeys(strengths(cls, options), 0.0)}
        clip = noise(fitting(cls(**options), Geometry(5, 16, 18)))
        assert torch.equal(cls(**none)(clip), clip)

    def test_half_of_it_is_seen_no_more(self, cls, options):
        whole = cls(**options)
        (name,) = strengths(cls, options)
        half = cls(**{**options, name: getattr(whole, name) / 2})
        clip = noise(fitting(whole, PAPER))
        assert self.quality(half, clip) >= self.quality(whole, clip)

    @staticmethod
    def quality(trigger, clip):
        return psnr(clip.numpy(), trigger(clip).numpy())

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
    def test_what_is_no_strength_gets_one_line(self, cls, options, value):
        (name,) = strengths(cls, options)
        with pytest.raises(ValueError, match=str(value)) as error:
            cls(**{**options, name: value})
        assert len(str(error.value).splitlines()) == 1


def test_every_built_in_trigger_says_what_its_strength_is():
    built_in = {cls for cls in methods("trigger").values() if cls.__module__.startswith("vidoor.")}
    scalable = {cls for cls, options in (c.values for c in CASES) if strengths(cls, options)}
    assert built_in <= scalable
