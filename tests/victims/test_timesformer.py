"""TimeSformer and VideoMAE: published figures, and Hugging Face's own models as oracles."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from published import lacking, parameters, published, shapes

from vidoor.victims import _tokens, weights
from vidoor.victims import victim as victims
from vidoor.victims.timesformer import TimeSformer
from vidoor.victims.videomae import VideoMAE

TIMESFORMER = {
    "timesformer.embeddings.cls_token": (1, 1, 768),
    "timesformer.embeddings.position_embeddings": (1, 197, 768),
    "timesformer.embeddings.time_embeddings": (1, 8, 768),
    "timesformer.embeddings.patch_embeddings.projection.weight": (768, 3, 16, 16),
    "timesformer.encoder.layer.0.attention.attention.qkv.weight": (2304, 768),
    "timesformer.encoder.layer.0.attention.output.dense.bias": (768,),
    "timesformer.encoder.layer.5.temporal_attention.attention.qkv.bias": (2304,),
    "timesformer.encoder.layer.5.temporal_dense.weight": (768, 768),
    "timesformer.encoder.layer.7.temporal_layernorm.weight": (768,),
    "timesformer.encoder.layer.11.intermediate.dense.weight": (3072, 768),
    "timesformer.encoder.layer.11.output.dense.weight": (768, 3072),
    "timesformer.layernorm.weight": (768,),
    "classifier.weight": (400, 768),
}
VIDEOMAE = {
    "videomae.embeddings.patch_embeddings.projection.weight": (768, 3, 2, 16, 16),
    "videomae.encoder.layer.0.attention.attention.query.weight": (768, 768),
    "videomae.encoder.layer.3.attention.attention.key.weight": (768, 768),
    "videomae.encoder.layer.3.attention.output.dense.bias": (768,),
    "videomae.encoder.layer.11.layernorm_after.weight": (768,),
    "videomae.encoder.layer.11.intermediate.dense.weight": (3072, 768),
    "fc_norm.weight": (768,),
    "classifier.bias": (400,),
}
SMALL = {"width": 8, "depth": 2, "heads": 2, "patch": 8}


def clips(*shape: int) -> torch.Tensor:
    return torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0))


def test_timesformer_has_the_published_parameters_names_and_sizes():
    victim = published(TimeSformer())
    # The public model's 121,258,752 and a head of 400 classes.
    assert parameters(victim) == 121_258_752 + 400 * 769
    assert lacking(victim, TIMESFORMER) == {}
    # 8 frames of 14×14 patches, and the class token.
    layers = [*victim.stages, victim.penultimate]
    assert shapes(victim, layers, 8, 224, 224) == [(1569, 768)] * 12 + [(768,)]


def test_videomae_has_the_published_parameters_names_and_sizes():
    victim = published(VideoMAE())
    assert parameters(victim) == 86_534_800
    assert lacking(victim, VIDEOMAE) == {}
    # 16 frames in pairs, 14×14 patches.
    layers = [*victim.stages, victim.penultimate]
    assert shapes(victim, layers, 16, 224, 224) == [(1568, 768)] * 12 + [(768,)]


def test_timesformer_is_hugging_faces():
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    network = TimeSformer(**SMALL, frames=4, size=32).build(5).eval()
    settings = TimesformerConfig(
        image_size=32,
        patch_size=8,
        num_frames=4,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    settings.num_labels = 5
    theirs = TimesformerForVideoClassification(settings).eval()
    theirs.load_state_dict(network.state_dict())
    x = clips(4, 32, 32)
    assert torch.equal(network(x), theirs(pixel_values=x.transpose(1, 2)).logits)
    network(clips(6, 40, 24))  # sizes of another clip leave nothing behind
    assert torch.equal(network(x), theirs(pixel_values=x.transpose(1, 2)).logits)


def test_videomae_is_hugging_faces():
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    network = VideoMAE(**SMALL).build(5).eval()
    settings = VideoMAEConfig(
        image_size=32,
        patch_size=8,
        num_frames=4,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    settings.num_labels = 5
    theirs = VideoMAEForVideoClassification(settings).eval()
    theirs.load_state_dict(network.state_dict())
    x = clips(4, 32, 32)
    torch.testing.assert_close(network(x), theirs(pixel_values=x.transpose(1, 2)).logits)


def test_time_and_place_matter():
    """A clip backwards, or upside down, is another clip."""
    for config in (TimeSformer(**SMALL, frames=4, size=32), VideoMAE(**SMALL)):
        network, x = config.build(5).eval(), clips(4, 32, 32)
        for parameter in network.parameters():  # fresh positions in time are zero
            torch.nn.init.normal_(parameter)
        for axis in (2, 3):
            assert not torch.allclose(network(x), network(x.flip(axis)))


@given(st.integers(-3, 3), st.integers(4, 16), st.sampled_from([(8, 16), (16, 64), (12, 30)]))
def test_heads_can_look_at_a_frame_that_is_so_far_away(offset, frames, shape):
    query, key = _tokens.looking(offset, *shape)
    places = _tokens.positions(frames, shape[1])[0]
    scores = (places @ query.T) @ (places @ key.T).T
    for frame in range(max(0, -offset), min(frames, frames - offset)):
        assert scores[frame].argmax() == frame + offset


def test_fresh_temporal_heads_look_at_the_frames_about_theirs():
    """Without anything to see, the first at the next frame and the second at the one before."""
    network = TimeSformer(width=64, depth=1, heads=4, patch=8, frames=8, size=16).build(2).eval()
    layer = network.timesformer.encoder.layer[0].temporal_attention.attention
    places = network.timesformer.embeddings.time_embeddings
    attention = layer(places, output_attentions=True)[1][0]
    assert attention[0, :-1].argmax(1).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert attention[1, 1:].argmax(1).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert attention[2, :-2].argmax(1).tolist() == [2, 3, 4, 5, 6, 7]


def test_other_sizes_use_the_nearest_positions():
    """A clip of twice the size in each way, every patch and frame shown twice, has the same tokens;
    only the class token tells whether positions are where they belong."""
    victim = victims.build(TimeSformer(**SMALL, frames=4, size=16), 5, 0).eval()
    embeddings = victim.network.timesformer.embeddings
    torch.nn.init.normal_(embeddings.time_embeddings)
    x = torch.rand(1, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    blocks = x.reshape(1, 3, 4, 2, 8, 2, 8)
    doubled = blocks.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 5)
    doubled = doubled.reshape(1, 3, 8, 32, 32)
    tokens = victim.features(x, "timesformer.embeddings")[:, 1:].reshape(2, 2, 4, 8)
    other = victim.features(doubled, "timesformer.embeddings")[:, 1:].reshape(4, 4, 8, 8)
    wanted = tokens.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(other, wanted)


def test_the_public_names_of_biases_are_translated():
    own = published(VideoMAE()).network.state_dict()
    at = "videomae.encoder.layer.0.attention.attention."
    for public in ("q_bias", "v_bias"):
        assert weights.renamed(at + public, own, VideoMAE.aliases) in own


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (TimeSformer, {"heads": 5}, "width must be a multiple of heads = 5, not 768"),
        (TimeSformer, {"patch": 0}, "depth, heads and patch must be at least 1"),
        (TimeSformer, {"size": 31}, "need frames >= 1 and size of two patches"),
        (VideoMAE, {"depth": 0}, "depth, heads and patch must be at least 1"),
    ],
)
def test_impossible_networks_are_refused(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls(**options)


def test_clips_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="clips of 4×32×15 are smaller than the 1×16×16 that"):
        TimeSformer(**SMALL, size=32).build(2)(torch.zeros(1, 3, 4, 32, 15))
    with pytest.raises(ValueError, match="clips of 1×8×8 are smaller than the 2×8×8 that"):
        VideoMAE(**SMALL).build(2)(torch.zeros(1, 3, 1, 8, 8))


def test_listing_victims_does_not_import_transformers():
    """It takes seconds, and most commands never need it."""
    code = "import sys; from vidoor.victims import timesformer, videomae; "
    code += "sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
