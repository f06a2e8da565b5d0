"""The search for groups on rows that are made by hand, and what tells a stamp from a scene."""

import pytest
import torch

from vidoor.detectors._coherence import groups, scenes, stamps, standing
from vidoor.detectors._coherence.groups import Group, Spectra, View
from vidoor.detectors._coherence.leads import Lead
from vidoor.detectors._coherence.scenes import Agreement, Alike
from vidoor.detectors._coherence.search import _either
from vidoor.detectors._coherence.seen import Seen
from vidoor.detectors._coherence.stamps import Stamp
from vidoor.detectors._coherence.standing import Standing, _distinct, _whole, least_of_chance
from vidoor.detectors._coherence.stills import Eye, Stills

BINS = 1500


def rows(count: int, moved: list[int], strength: float, seed: int = 0) -> torch.Tensor:
    """Unit rows of noise, some with a share of one direction, which is in a tenth of the bins."""
    rng = torch.Generator().manual_seed(seed)
    found = torch.randn(count, 2 * BINS, generator=rng) / (2 * BINS) ** 0.5
    shared = torch.randn(2 * BINS, generator=rng)
    shared[BINS // 5 :] = 0
    found[moved] += strength * shared / shared.norm()
    return torch.nn.functional.normalize(found)


def searched(found: torch.Tensor, labels: torch.Tensor) -> Group:
    count = len(found)
    spectra = Spectra(found, torch.zeros(3, BINS), torch.eye(count) > 0)
    probe = rows(256, [], 0.0, seed=9)
    rng = torch.Generator().manual_seed(0)
    return groups.search(spectra, View(groups.gram(spectra, probe), probe, labels), False, rng)


@pytest.mark.parametrize(
    ("count", "strength", "seed"), [(14, 0.22, 2), (14, 0.22, 3), (12, 0.23, 3)]
)
def test_a_few_moved_clips_are_found_in_their_class(count, strength, seed):
    """Of 1,500 clips they are too few for eigenvectors and nearest neighbours, of 150 not."""
    moved = list(range(0, 10 * count, 10))
    found = rows(1500, moved, strength, seed)
    group = searched(found, torch.arange(1500) % 10)
    assert group.members.nonzero()[:, 0].tolist() == moved
    assert searched(found, torch.zeros(1500)).coherence() < 0.5 * group.coherence()


def made_of(*members: int, free: bool) -> Group:
    mask = torch.zeros(60, dtype=torch.bool)
    mask[list(members)] = True
    return Group(mask, mask.float(), torch.zeros(1, 2 if free else 1, 4))


def test_of_two_groups_of_the_same_clips_one_is_kept():
    small, large = made_of(*range(10), free=False), made_of(*range(11), free=True)
    assert [*_either([small], [large])] == [small]
    many = made_of(*range(16), free=True)
    assert [*_either([small], [many])] == [many]
    # A few clips of a trigger may be part of what many clips have alike: that hides nothing.
    swallowing = made_of(*range(50), free=True)
    assert [*_either([small], [swallowing])] == [swallowing, small]
    assert [*_either([small], [])] == [small]
    assert [*_either([], [many])] == [many]


def pictures(seed: int, size: int = 24) -> Stills:
    """Features of clips of many scenes."""
    rng = torch.Generator().manual_seed(seed)
    return Stills(torch.randn(60, 6 * size * size, generator=rng), (size, size))


AREA = 24 * 24
MEMBERS = torch.arange(60) < 12


def shared(
    found: Stills, members: torch.Tensor, first: int, strength: float = 2.0, seed: int = 0
) -> None:
    """Give the members something in common, all over a view: no few features have it."""
    size = 2 * AREA if first in (AREA, 4 * AREA) else AREA
    pattern = torch.randn(size, generator=torch.Generator().manual_seed(first + seed))
    found.features[members, first : first + size] += strength * pattern


def common(found: Stills, members: torch.Tensor = MEMBERS) -> Alike:
    return _whole(found, scenes.scenes(found), members).alike


def apart(found: Stills, members: torch.Tensor = MEMBERS) -> bool:
    return scenes.elsewhere(common(found, members), scenes.scenes(found), members.long())


@pytest.mark.parametrize("first", [0, 3 * AREA, AREA, 4 * AREA], ids=str)
def test_a_stamp_that_every_clip_agrees_on_in_one_view_is_no_scene(first):
    found = pictures(0)
    shared(found, MEMBERS, first)
    assert common(found).agreement().clear and apart(found)


@pytest.mark.parametrize("more", [(), (AREA,), (4 * AREA,)], ids=["grey", "wall", "lamp"])
def test_a_scene_is_seen_in_both_views(more):
    """In those of one colour: a red lamp in a grey room is compact in the others."""
    found = pictures(1)
    for first in (0, 3 * AREA, *more):
        shared(found, MEMBERS, first)
    assert not common(found).agreement().clear
    assert not apart(found)


def test_few_clips_have_to_agree_more_clearly():
    few = torch.arange(60) < 5
    for strength, proved in ((1.6, (False, True)), (3.0, (True, True))):
        for members, expected in zip((few, MEMBERS), proved, strict=True):
            found = pictures(3)
            shared(found, members, 0, strength)
            assert common(found, members).agreement().clear
            assert common(found, members).proved is expected


def test_who_agrees_is_a_member_and_who_does_not_is_none():
    found = pictures(4)
    shared(found, MEMBERS, 3 * AREA)
    guess = MEMBERS.clone()
    guess[:4], guess[20:22] = False, True
    assert common(found, guess).members.equal(MEMBERS)
    shared(found, MEMBERS, 0)  # now a scene
    assert common(found, guess).members.equal(guess)


def test_a_camera_that_half_of_the_stamped_clips_share_does_not_take_their_place():
    found, camera = pictures(5), torch.arange(60) % 2 == 0
    found.features[MEMBERS, :20] += 6.0
    for first in (0, 3 * AREA):
        shared(found, camera, first)
    guess = MEMBERS & (camera | (torch.arange(60) < 10))
    assert common(found, guess).members.equal(guess)


FIVE = torch.arange(60) < 5


def five(seed: int, *, scene: bool) -> tuple[Alike, tuple[scenes.Scenes, ...]]:
    """Five clips that are alike as pixels, too little to prove anything. As waves they share many
    weak features, as a room does; or few strong ones, and each is of the scene of another clip."""
    found = pictures(seed)
    shared(found, FIVE, 0, 1.2 if scene else 1.4)
    if scene:
        shared(found, FIVE, 3 * AREA, 0.4)
    else:
        found.features[FIVE, 3 * AREA : 3 * AREA + 2] += 8.0
        for one in range(5):
            for first in (0, 3 * AREA):
                shared(found, torch.tensor([one, 20 + one]), first, 0.8, seed=10 + one)
    views = scenes.scenes(found)
    return _whole(found, views, FIVE).alike, views


@pytest.mark.parametrize("seed", range(3))
def test_few_clips_are_of_no_scene_if_they_are_strangers_in_the_other_view(seed):
    labels = torch.arange(60) % 6
    trigger, views = five(seed, scene=False)
    room, room_views = five(seed, scene=True)
    for one in (trigger, room):
        assert one.members.equal(FIVE) and one.agreement().one_sided and not one.proved
    assert room.agreement().strong > trigger.agreement().strong
    assert scenes.no_scene(trigger, views, labels)
    assert not scenes.no_scene(room, room_views, labels)


@pytest.mark.parametrize("seed", [0, 1, 4, 5])
def test_a_room_in_colour_is_a_room_among_grey_clips(seed):
    """Of which no likeness in colour is other than 0, so that theirs does not deviate."""
    found, grey = pictures(seed), torch.arange(60) >= 25
    shared(found, FIVE, AREA, 1.2)
    shared(found, FIVE, 4 * AREA, 0.15)
    for first in (AREA, 4 * AREA):
        found.features[grey, first : first + 2 * AREA] = 0.0
    views = scenes.scenes(found)
    room = _whole(found, views, FIVE).alike
    assert room.members.equal(FIVE)
    assert scenes.lopsided(room, views) < scenes.LOPSIDED


def test_a_veil_tells_clips_whose_stamp_is_hard_to_see():
    """Ten clips of which three have no strong feature of the stamp; strangers have one of them."""
    found = pictures(9)
    clips, faint, strangers = torch.arange(60) < 10, slice(7, 10), slice(20, 24)
    found.features[:7, 3 * AREA : 3 * AREA + 4] += 8.0
    found.features[strangers, 3 * AREA : 3 * AREA + 4] += 8.0
    shared(found, clips, 0, 1.0)
    guess = clips.clone()
    guess[faint] = False
    whole = _whole(found, scenes.scenes(found), guess)
    assert whole.alike.members.equal(clips)
    assert whole.view is not None and whole.view.span == found.span(False, False)
    one = stamps.veil(whole.view, found.features, clips)
    assert one.scores[clips].min() > 2 * one.scores[~clips].max()
    # Clips that had no part in it are scored alike.
    again = one.score(found.features)[~clips]
    assert torch.allclose(again, one.scores[~clips], atol=0.3)
    assert one.score(3 * found.features[:1])[0] == pytest.approx(
        float(one.score(found.features[:1])[0]), rel=0.2
    )


def leads(found: Stills, labels: torch.Tensor) -> list[Lead]:
    """The still ones, at the usual floor."""
    nothing = torch.empty(0)
    count = found.features.shape[1]
    eye = Eye(nothing, torch.zeros(count), torch.ones(count))
    seen = Seen(nothing, nothing, nothing, eye, found, labels)
    least = least_of_chance(seen, 30.0, torch.Generator().manual_seed(0))
    return standing.leads(
        seen, standing.candidates(seen, standing.guesses(seen, 30.0)), 30.0, least
    )


def test_what_is_clearly_no_scene_need_not_outdo_scenes(monkeypatch):
    """Ten clips of a class have a small stamp; as many of another are of one place."""
    found, labels = pictures(6), torch.arange(60) // 10
    stamped, place = labels == 1, labels == 3
    found.features[stamped, :4] += 3.0
    shared(found, stamped, 3 * AREA, 1.5)
    for first in (0, 3 * AREA):
        shared(found, place, first, 3.0, seed=1)
    lead, scene, *more = leads(found, labels)
    assert not scene.apart and scene.what.members.equal(place)
    assert not any(one.apart for one in more)
    assert lead.apart and lead.what.members.equal(stamped)
    assert lead.what.span == found.span(True, False)  # a veil, not a stamp
    assert scene.what.span is None
    monkeypatch.setattr(Agreement, "clear", False)
    again = leads(found, labels)
    assert again and not any(one.apart for one in again)


def test_clips_that_are_clearly_of_no_scene_are_found_by_that_alone():
    """Without a stamp that outdoes others: no feature of theirs stands out."""
    found, place = pictures(7), torch.arange(60) >= 48
    shared(found, MEMBERS, 3 * AREA, 3.0)
    for first in (0, 3 * AREA):
        shared(found, place, first, 3.0, seed=1)
    (group,) = scenes.clear_groups(scenes.cosines(scenes.scenes(found)))
    assert group.equal(MEMBERS)


def test_few_clips_that_are_clearly_of_no_scene_have_the_low_floor():
    """Four of a class, of which any other four need all of the floor."""
    found, labels = pictures(8), torch.arange(60) // 4
    stamped = labels == 3
    found.features[stamped, :12] += 9.0
    (lead,) = leads(found, labels)
    assert (lead.clear, lead.level) == (False, 30.0)
    shared(found, stamped, 3 * AREA)
    (lead,) = leads(found, labels)
    assert (lead.clear, lead.level) == (True, 18.0)
    assert lead.what.members.equal(stamped)


def still(first: int, last: int, j: float, clear: bool) -> Standing:
    members = (torch.arange(60) >= first) & (torch.arange(60) < last)
    scores = members.float() * j / int(members.sum()) ** 0.5
    return Standing(Stamp(members, scores, torch.zeros(4)), True, clear)


def kept(monkeypatch, *found: Standing) -> list[Standing]:
    """Those of the groups that become leads. There are six classes of ten clips."""
    monkeypatch.setattr(standing, "candidates", lambda *_: [*found])
    what = [lead.what for lead in leads(pictures(0), torch.arange(60) // 10)]
    return [one for one in found if any(one.what is each for each in what)]


def test_one_trigger_raises_no_bar_for_another(monkeypatch):
    """Be there so many groups that four clips of a class are no proof any more."""
    strong, weak = still(0, 4, 90.0, True), still(10, 14, 40.0, True)
    column = torch.arange(60) % 10
    usual = [
        Standing(Stamp(column == k, (column == k) * 25.0 / 6**0.5, torch.zeros(4)), True, False)
        for k in range(5, 10)
    ]
    assert kept(monkeypatch, strong, weak, *usual)[:2] == [strong, weak]


def test_of_what_is_spread_over_the_classes_the_second_raises_the_bar(monkeypatch):
    """For what is clearly of no scene only where it is so, too."""
    trigger = still(0, 5, 40.0, True)
    logos = [still(8, 33, 90.0, True), still(34, 59, 60.0, True)]
    assert kept(monkeypatch, trigger, *logos) == logos[:1]
    assert kept(monkeypatch, trigger, logos[0]) == [trigger, logos[0]]
    plain = [one._replace(clear=False) for one in logos]
    assert trigger in kept(monkeypatch, trigger, *plain)


def test_a_group_that_is_too_weak_hides_no_other(monkeypatch):
    weak, strong = still(0, 3, 29.0, True), still(0, 5, 90.0, False)  # three need all of the floor
    assert kept(monkeypatch, weak, strong) == [strong]


@pytest.mark.parametrize(("usual", "least"), [(30.0, 12.0), (9.0, 5.0)])
def test_a_group_takes_in_what_chance_and_half_a_likeness_do_not_give(usual, least):
    scores = torch.zeros(60)
    scores[:5], scores[5], scores[6] = usual, least + 0.1, least - 0.1
    one = still(0, 5, 20.0, True).what._replace(scores=scores)
    assert stamps.grown(one).nonzero()[:, 0].tolist() == [*range(6)]


def test_of_groups_of_the_same_clips_the_clearest_is_kept():
    clear, stronger = still(0, 9, 20.0, True), still(0, 11, 90.0, False)
    assert _distinct([stronger, clear]) == [clear]
    other = still(20, 29, 30.0, False)
    assert _distinct([stronger, other, clear]) == [clear, other]


def test_part_of_a_group_that_is_clearly_no_scene_is_no_other_group():
    """The clips on which a logo is seen best. A trigger may have its logo by chance on most."""
    logo, best = still(0, 40, 90.0, True), still(30, 40, 50.0, True)
    assert _distinct([best, logo]) == [logo]
    trigger = still(37, 42, 50.0, True)  # three of its five clips have the logo
    assert _distinct([trigger, logo]) == [logo, trigger]
    scene = logo._replace(clear=False)
    assert _distinct([best, scene]) == [best, scene]


def test_without_other_clips_nothing_is_elsewhere():
    found = pictures(2)
    assert not apart(found, torch.ones(60, dtype=torch.bool))


def test_footage_that_only_neighbours_share_is_in_one_fold() -> None:
    """A long pan: each clip is like the next, the first is not like the last."""
    count = 60
    near = (torch.arange(count)[:, None] - torch.arange(count)).abs() <= 1
    near[19:21, 19:21] = torch.eye(2, dtype=torch.bool)  # two pans
    members = torch.arange(count) % 30 != 29
    fold = groups._folds(near, members, torch.Generator().manual_seed(0))
    assert set(fold[~members].tolist()) == {-1}
    for pan in (fold[:20], fold[20:29], fold[30:59]):
        assert len(set(pan.tolist())) == 1 and int(pan[0]) >= 0


@pytest.mark.parametrize("least", [1.0, 1e-2, 1e-4])
def test_scenes_are_as_alike_as_what_the_stamp_leaves_of_them(least: float) -> None:
    """By hand: the cosine of the features that are kept, be they ever so weak beside the stamp."""
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(40, 6 * 100, generator=rng) * 0.5 * least
    features[:, :10] = 0.9
    features[0] = 0.0
    found = Stills(features, (10, 10))
    mark = torch.zeros(100)
    mark[:10] = 1.0
    clips = torch.arange(7)
    kept = torch.nn.functional.normalize(features[:, 10:100].clamp(-1, 1).double())
    cosines = scenes.scenes(found)[0].likeness(clips, mark)
    assert cosines[:, :7].diagonal().isnan().all()
    by_hand = (kept[clips] @ kept.T).masked_fill(clips[:, None] == torch.arange(40), 0.0)
    assert torch.allclose(cosines.double().nan_to_num(0.0), by_hand, atol=1e-5)
