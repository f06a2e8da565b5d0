"""Galleries: pixels where they must be, tiles against loops over their blocks."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from vidoor.report import gallery
from vidoor.report.gallery import Heading

Pixels = np.ndarray[Any, Any]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def opened(png: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_tiles_stand_in_their_cells_and_nothing_overlaps() -> None:
    colours = [[(250, 0, 0), (0, 250, 0), (0, 0, 250)], [(99, 0, 0), (0, 99, 0), (0, 0, 99)]]
    tiles = [[np.full((20, 30, 3), colour, np.uint8) for colour in row] for row in colours]
    tiles[1][1] = tiles[1][1][:10, :10]
    rows = [Heading("short", "a note that is longer"), Heading("x")]
    columns = [Heading("a"), Heading("b", "frame 1"), Heading("c")]
    drawn = gallery.gallery("title", rows, columns, tiles)
    assert drawn == gallery.gallery("title", rows, columns, tiles)
    picture = opened(drawn)
    boxes = {}
    for row, column in np.ndindex(2, 3):
        down, across = np.nonzero((picture == colours[row][column]).all(-1))
        height, width = tiles[row][column].shape[:2]
        assert len(down) == height * width  # all of it, and no letter over it
        boxes[row, column] = (down.min(), across.min(), down.max() + 1, across.max() + 1)
    step = 30 + gallery.GAP, 20 + gallery.GAP
    assert boxes[0, 1][1] - boxes[0, 0][1] == step[0] == boxes[0, 2][1] - boxes[0, 1][1]
    assert boxes[1, 0][0] - boxes[0, 0][0] == step[1]
    assert boxes[1, 1][:2] == (boxes[1, 0][0] + 5, boxes[0, 1][1] + 10)  # in the middle
    margins = picture.shape[0] - boxes[1, 0][2], picture.shape[1] - boxes[0, 2][3]
    assert margins == (gallery.EDGE, gallery.EDGE)
    edge = np.concatenate([picture[: gallery.EDGE - 2].ravel(), picture[:, : gallery.EDGE].ravel()])
    assert (edge == 255).all()


def test_a_long_title_is_not_cut_off() -> None:
    tile = np.zeros((8, 8, 3), np.uint8)
    picture = opened(gallery.gallery("word " * 40, [Heading("r")], [Heading("c")], [[tile]]))
    assert (picture[:, -gallery.EDGE :] == 255).all()
    assert (picture[: gallery.EDGE + 16] < 255).any()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(4, 50), st.integers(0, 2**16))
def test_tiles_are_blocks_of_whole_pixels(height: int, width: int, side: int, seed: int) -> None:
    clean, other = noise(height, width, seed=seed), noise(height, width, seed=seed + 1)
    tile, change = gallery.scaled(clean, side), gallery.change(clean, other, 0.5, side)
    assert tile.shape == change.shape and max(tile.shape[:2]) <= side
    step, factor = -(-max(height, width) // side), max(1, side // max(height, width))
    assert step == 1 or factor == 1
    for row, column in np.ndindex(*tile.shape[:2]):
        top, left = row // factor * min(step, height), column // factor * min(step, width)
        block = np.s_[top : top + step, left : left + step]
        np.testing.assert_allclose(tile[row, column], clean[block].mean((0, 1)), atol=0.5001)
        changes = (other[block].astype(int) - clean[block]).reshape(-1, 3)
        sizes = abs(changes).sum(-1)
        shown = [np.rint(np.clip(128 + 0.5 * c, 0, 255)) for c in changes[sizes == sizes.max()]]
        assert any((change[row, column] == levels).all() for levels in shown)


def test_a_grid_of_dots_is_seen_wherever_it_lies() -> None:
    clean = np.full((224, 224, 3), 100, np.uint8)
    for offset in (0, 1):
        dots = clean.copy()
        dots[offset::2, offset::2] += 28
        assert (gallery.change(clean, dots, 2, 112) == 128 + 56).all()
    assert (gallery.change(clean, clean, 10, 112) == 128).all()


@pytest.mark.parametrize("text", ["DFT", "46.8 dB", "10 x change", "0.5 x change", "frame 31"])
def test_every_letter_has_a_shape(text: str) -> None:
    font = ImageFont.load_default(13)
    missing = bytes(font.getmask("\uffff"))
    assert all(bytes(font.getmask(letter)) != missing for letter in text if letter != " ")
