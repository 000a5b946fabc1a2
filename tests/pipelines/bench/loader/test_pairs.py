"""A batch that shows anything but pairs is refused."""

import numpy as np
import pytest
import simplejpeg

from pipelines.bench.loader.pairs import Pairs, Taken


def _taken(pairs: Pairs, *places: int) -> Taken:
    def images(frames: np.ndarray) -> np.ndarray:
        return np.stack([simplejpeg.decode_jpeg(pairs.jpeg(frames[place]), "RGB") for place in places])

    return images(pairs.first), images(pairs.future), pairs.action[list(places)].copy()


def test_pairs_are_found(pairs: Pairs) -> None:
    pairs.check(_taken(pairs, 3, 0))


def test_a_changed_pixel_is_refused(pairs: Pairs) -> None:
    taken = _taken(pairs, 3, 0)
    taken[1][1, 5, 5] ^= 1

    with pytest.raises(ValueError, match=r"sample 1 .* expected the two frames of a pair"):
        pairs.check(taken)


def test_frames_that_do_not_belong_together_are_refused(pairs: Pairs) -> None:
    first, future, action = _taken(pairs, 3, 0)

    with pytest.raises(ValueError, match=r"sample 0 .* expected the two frames of a pair"):
        pairs.check((first, future[::-1], action))


def test_actions_of_another_pair_are_refused(pairs: Pairs) -> None:
    first, future, action = _taken(pairs, 3, 0)

    with pytest.raises(ValueError, match=r"sample 0 .* actions are those of another"):
        pairs.check((first, future, action[::-1]))
