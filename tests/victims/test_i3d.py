"""I3D against its published figures: parameters, both publishers' names, sizes, padding, head."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from published import lacking, parameters, published, shapes
from torch import nn

from vidoor.victims import victim as victims
from vidoor.victims import weights
from vidoor.victims.i3d import I3D, _same

NAMES = {
    "Conv3d_1a_7x7.conv3d.weight": (64, 3, 7, 7, 7),
    "Conv3d_1a_7x7.bn.running_mean": (64,),
    "Conv3d_2b_1x1.conv3d.weight": (64, 64, 1, 1, 1),
    "Conv3d_2c_3x3.conv3d.weight": (192, 64, 3, 3, 3),
    "Mixed_3b.b0.conv3d.weight": (64, 192, 1, 1, 1),
    "Mixed_3b.b1a.conv3d.weight": (96, 192, 1, 1, 1),
    "Mixed_3b.b1b.conv3d.weight": (128, 96, 3, 3, 3),
    "Mixed_3c.b2b.conv3d.weight": (96, 32, 3, 3, 3),
    "Mixed_4b.b3b.conv3d.weight": (64, 480, 1, 1, 1),
    "Mixed_4d.b2a.bn.weight": (24,),
    "Mixed_4f.b1b.conv3d.weight": (320, 160, 3, 3, 3),
    "Mixed_5b.b0.bn.running_var": (256,),
    "Mixed_5c.b0.conv3d.weight": (384, 832, 1, 1, 1),
    "Mixed_5c.b2b.conv3d.weight": (128, 48, 3, 3, 3),
    "logits.conv3d.weight": (400, 1024, 1, 1, 1),
    "logits.conv3d.bias": (400,),
}

OTHERS = {
    "conv3d_1a_7x7.conv3d.weight": "Conv3d_1a_7x7.conv3d.weight",
    "conv3d_2b_1x1.batch3d.weight": "Conv3d_2b_1x1.bn.weight",
    "conv3d_2c_3x3.batch3d.running_var": "Conv3d_2c_3x3.bn.running_var",
    "mixed_3b.branch_0.conv3d.weight": "Mixed_3b.b0.conv3d.weight",
    "mixed_3b.branch_1.0.conv3d.weight": "Mixed_3b.b1a.conv3d.weight",
    "mixed_3c.branch_1.1.batch3d.bias": "Mixed_3c.b1b.bn.bias",
    "mixed_4f.branch_2.0.conv3d.weight": "Mixed_4f.b2a.conv3d.weight",
    "mixed_5b.branch_2.1.conv3d.weight": "Mixed_5b.b2b.conv3d.weight",
    "mixed_5c.branch_3.1.batch3d.running_mean": "Mixed_5c.b3b.bn.running_mean",
    "conv3d_0c_1x1.conv3d.weight": "logits.conv3d.weight",
    "conv3d_0c_1x1.conv3d.bias": "logits.conv3d.bias",
}
"""hassony2's names for piergiaj's."""


def test_i3d_has_the_published_parameters_and_names():
    victim = published(I3D())
    # With the 400-class 1×1×1 convolution (410,000) that the public checkpoints have.
    assert parameters(victim) == 12_697_264
    assert lacking(victim, NAMES) == {}


def test_sizes_are_the_published_ones():
    victim = published(I3D())
    assert victim.stages == ("Mixed_3c", "Mixed_4f", "Mixed_5c")
    layers = ["Conv3d_1a_7x7", "MaxPool3d_2a_3x3", "Conv3d_2c_3x3", "MaxPool3d_3a_3x3"]
    assert shapes(victim, [*layers, *victim.stages, "avg_pool"], 64, 224, 224) == [
        (64, 32, 112, 112),
        (64, 32, 56, 56),
        (192, 32, 56, 56),
        (192, 32, 28, 28),
        (480, 32, 28, 28),
        (832, 16, 14, 14),
        (1024, 8, 7, 7),
        (1024, 7, 1, 1),
    ]


@given(st.integers(1, 40), st.sampled_from([1, 2, 3, 7]), st.sampled_from([1, 2]))
def test_padding_is_tensorflows_same(size, kernel, stride):
    """⌈size / stride⌉ windows, with as few zeros as that needs, the odd one at the end."""
    x = torch.arange(1.0, size + 1).reshape(1, 1, size, 1, 1)
    padded = _same(x, (kernel, 1, 1), (stride, 1, 1)).flatten()
    needed = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    assert len(padded) == size + needed
    before = needed // 2
    assert torch.equal(padded[before : before + size], x.flatten())
    assert padded.sum() == x.sum()


def test_a_unit_is_convolution_batch_norm_and_relu():
    """At an even size the stem's zeros are two before and three after, on each axis."""
    stem = I3D(width=4, depth=(1,)).build(2).Conv3d_1a_7x7.eval()
    nn.init.uniform_(stem.bn.running_mean, -0.1, 0.1)
    x = torch.randn(1, 3, 4, 8, 6)
    convolved = nn.functional.conv3d(nn.functional.pad(x, (2, 3) * 3), stem.conv3d.weight, stride=2)
    wanted = (convolved - stem.bn.running_mean[:, None, None, None]) / (1 + 1e-3) ** 0.5
    torch.testing.assert_close(stem(x), wanted.relu())


def test_names_of_the_other_publisher_are_translated():
    own = published(I3D()).network.state_dict()
    assert {name: weights.renamed(name, own, I3D.aliases) for name in OTHERS} == OTHERS
    assert all(weights.renamed(name, own, I3D.aliases) == name for name in own)


def test_a_file_under_the_other_publishers_names_gives_the_same_logits(tmp_path):
    """Every name translated back, and no count of steps, as the public file has it."""
    config = I3D(width=4, dropout=0.0)
    victim = victims.build(config, 5, 0).eval()
    state = {}
    for name, value in victim.network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        layer, _, rest = name.partition(".")
        if layer == "logits":
            layer = "conv3d_0c_1x1"
        elif layer.startswith("Mixed"):
            branch, _, rest = rest.partition(".")
            inner = {"0": "0", "1a": "1.0", "1b": "1.1", "2a": "2.0", "2b": "2.1", "3b": "3.1"}
            rest = f"branch_{inner[branch[1:]]}.{rest}"
        state[f"{layer[0].lower()}{layer[1:]}.{rest.replace('bn.', 'batch3d.')}"] = value
    torch.save(state, tmp_path / "model_rgb.pth")
    pretrained = I3D(width=4, dropout=0.0, weights=str(tmp_path / "model_rgb.pth"))
    clips = torch.rand(2, 3, 8, 32, 32)
    assert torch.equal(victims.build(pretrained, 5, 1).eval()(clips), victim(clips))
