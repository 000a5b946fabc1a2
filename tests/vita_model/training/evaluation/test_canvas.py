"""Drawing with numpy: where tiles, lines and cells end up."""

import numpy as np

from vita_model.training.evaluation.canvas import draw_line, enlarged, shaded, stacked, tiled


def test_tiles_lie_in_rows_and_columns_and_blocks_under_one_another():
    tiles = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1).repeat(8, 2).repeat(8, 3).repeat(3, 4)
    sheet = tiled(tiles)
    assert sheet.shape == (4 + 2 * 12, 4 + 3 * 12, 3)
    np.testing.assert_array_equal(sheet[8::12, 8::12, 0], [[0, 1, 2], [3, 4, 5]])

    both = stacked([sheet, enlarged(tiles[1, 2], 2)])
    assert both.shape == (28 + 16, 40, 3)
    assert (both[28:, :16] == 5).all()
    assert (both[28:, 16:] == 255).all()


def test_a_line_joins_its_points_and_stays_in_its_panel():
    panel = np.full((20, 20, 3), 255, np.uint8)
    draw_line(panel, np.array([[2.0, 3.0], [12.0, 3.0], [12.0, 99.0]]), (0, 0, 9))
    drawn = (panel == (0, 0, 9)).all(axis=2)

    assert drawn[3:5, 2:13].all()
    assert drawn[3:, 12:14].all()
    assert not drawn[6:, :12].any()


def test_more_counts_are_darker_and_the_diagonal_has_its_own_colour():
    picture = shaded(np.array([[9, 0], [1, 0]]), cell=3, colour=(0, 0, 255), diagonal=(255, 0, 0))
    (same, never), (once, nothing) = picture[1::3, 1::3].tolist()

    assert picture.shape == (6, 6, 3)
    assert same == [255, 0, 0]
    assert never == [255, 255, 255]
    assert once[2] == 255
    assert 100 < once[0] < 200
    assert nothing == [230, 230, 230]
