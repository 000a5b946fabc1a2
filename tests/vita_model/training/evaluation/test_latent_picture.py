"""The picture of the latents: frames, paths and codes as a hand-made model gives them, and what each stage has."""

import numpy as np
import pytest
import simplejpeg
import torch

from vita_data.types import Modality, Stage
from vita_model.network.prediction import Draws, ShownLatents
from vita_model.training.evaluation.latent_picture import LatentView, drawn, seen, write_latents
from vita_model.training.stages import RULES, set_modes

BLACK, BLUE, ORANGE, GREY = (0, 0, 0), (31, 119, 180), (255, 127, 14), (128, 128, 128)


def where(picture, colour):
    """Rows and columns of a colour."""
    return np.argwhere((picture == colour).all(axis=2))


@pytest.mark.parametrize("stage", list(Stage))
def test_a_view_holds_what_the_decoders_make_of_own_shuffled_and_mean_latents(model, make_batch, stage):
    set_modes(model, stage)
    futures = {Stage.WARMUP: 1, Stage.COTRAIN: 3, Stage.FINETUNE: 0}[stage]
    batch = make_batch("paired", size=5, futures=futures)
    if futures:
        batch.future_mask[0], batch.future_mask[1] = True, False
    view = seen(model, stage, [batch])
    predict = RULES[stage].predict
    model.eval()
    shown = {choice: predict(model, batch, Draws(latents=choice)) for choice in ShownLatents}

    own = shown[ShownLatents.OWN].actions
    true = (own.true * own.mask)[:4, :, 7:9].cumsum(dim=1).numpy()
    assert own.mask[0].any()
    assert view.paths.shape == (4, 3, 13, 2)
    assert not view.paths[:, :, 0].any()
    np.testing.assert_allclose(view.paths[:, 0, 1:], true, atol=1e-5)
    for at, choice in ((1, ShownLatents.OWN), (2, ShownLatents.SHUFFLED)):
        moves = shown[choice].actions.predicted.detach()[:4, :, 7:9]
        np.testing.assert_allclose(view.paths[:, at, -1], (moves * own.mask[:4, :, 7:9]).sum(dim=1), atol=1e-4)
    if not futures:
        assert view.frames is None
        return
    assert view.frames.shape == (4, 5, 32, 32, 3)
    for at, choice in enumerate(ShownLatents, start=2):
        expected = shown[choice].frames.predicted[0, -1].detach().clamp(0, 1).permute(1, 2, 0) * 255
        np.testing.assert_allclose(view.frames[0, at], expected.round(), atol=1)
    assert (view.frames[1, 1:] == 128).all(), "no real future"
    assert len(view.codes) == (4 if stage is Stage.WARMUP else 0), "the pair of sample 1 is not real"


def test_codes_are_those_of_all_paired_windows_and_frames_those_of_the_first(model, make_batch):
    batches = [make_batch("video"), *(make_batch("paired", seed=seed, size=6) for seed in (1, 2))]
    set_modes(model, Stage.WARMUP)
    both, first = (seen(model, Stage.WARMUP, part) for part in (batches, batches[:2]))
    model.eval()
    (video,) = RULES[Stage.WARMUP].predict(model, batches[1], Draws()).quantized
    action = model.encode_chunk(batches[1].action, batches[1].action_mask)

    assert len(both.codes) == 12
    np.testing.assert_array_equal(first.codes, torch.cat([video.indices, action.indices], dim=1))
    np.testing.assert_array_equal(both.frames, first.frames)


def test_paths_are_of_the_left_hand_where_the_right_one_is_masked(model, make_batch):
    batch = make_batch("action")
    batch.action[0, :, :7], batch.action[0, :, 7:] = batch.action[0, :, 7:].clone(), torch.nan
    batch.action_mask[0] = batch.action_mask[0].flip(-1)
    view = seen(model, Stage.WARMUP, [batch])
    np.testing.assert_allclose(view.paths[0, 0, -1], batch.action[0, :, :2].sum(dim=0), atol=1e-5)
    np.testing.assert_allclose(view.paths[1, 0, -1], batch.action[1, :, 7:9].sum(dim=0), atol=1e-5)
    assert view.frames is None


def test_paths_go_right_along_x_and_up_along_y_at_one_scale():
    paths = np.zeros((1, 3, 2, 2), np.float32)
    paths[0, :, 1] = [[1, 0], [0, 1], [0, -0.5]]
    picture = drawn(LatentView(paths=paths))
    middle = picture.shape[0] // 2
    black, blue, orange = (where(picture, colour) for colour in (BLACK, BLUE, ORANGE))

    assert black[:, 1].max() > picture.shape[1] - 20
    assert abs(black[:, 0] - middle).max() <= 2
    assert blue[:, 0].min() < 20
    assert abs(blue[:, 1] - middle).max() <= 2
    assert middle + 25 < orange[:, 0].max() < middle + 40


def test_equal_codes_lie_on_the_orange_diagonal_and_others_are_blue():
    agrees = drawn(LatentView(codes=np.array([[3, 3], [3, 3], [7, 7]])))
    differs = drawn(LatentView(codes=np.array([[3, 7], [3, 7], [7, 3]])))

    assert len(where(agrees, ORANGE)) == 24**2
    assert not len(where(agrees, BLUE))
    assert len(where(differs, BLUE)) == 24**2
    assert not len(where(differs, ORANGE))


def test_many_codes_leave_room_for_the_most_frequent_alone():
    codes = np.stack([np.arange(200)] * 2, axis=1)
    picture = drawn(LatentView(codes=np.concatenate([codes, np.full((9, 2), 150)])))
    assert picture.shape == (48 * 8 + 2 + 8, 48 * 8 + 2 + 8, 3)
    np.testing.assert_array_equal(where(picture, ORANGE)[0], [5, 5])


def test_small_frames_are_enlarged_and_nothing_gives_no_picture():
    frames = np.zeros((2, 5, 32, 32, 3), np.uint8)
    assert drawn(LatentView(frames=frames)).shape == (4 + 2 * 100, 4 + 5 * 100, 3)
    assert drawn(LatentView()) is None


def test_the_picture_leaves_the_model_and_random_numbers_alone(model, make_batch, tmp_path):
    set_modes(model, Stage.WARMUP)
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    batches = [make_batch(modality) for modality in (Modality.PAIRED, Modality.ACTION)]
    (path,) = write_latents(tmp_path, 40, model, Stage.WARMUP, batches)

    assert path == tmp_path / "previews" / "step-00000040-latents.jpg"
    assert simplejpeg.decode_jpeg(path.read_bytes()).shape[1] == 4 + 4 * 148
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert write_latents(tmp_path, 41, model, Stage.WARMUP, []) == []
