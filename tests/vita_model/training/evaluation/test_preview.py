import json

import numpy as np
import pytest
import simplejpeg
import torch

from vita_data.types import Stage
from vita_model.network.action import ACTION_NAMES
from vita_model.network.prediction import FramePrediction
from vita_model.training.evaluation.preview import frame_grid, write_previews
from vita_model.training.stages import set_modes


def test_the_grid_has_a_row_a_sample_and_columns_start_true_predicted():
    true = torch.full((2, 5, 3, 8, 8), 0.5)
    mask = torch.tensor([[True, True, True, False, False], [True, False, False, False, False]])
    present = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    frames = FramePrediction(present=present, predicted=true + 9, true=true, mask=mask)
    grid = frame_grid(frames)

    assert grid.shape == (4 + 2 * 12, 4 + 7 * 12, 3)
    centres = grid[8::12, 8::12, 0][:2, :7]
    np.testing.assert_array_equal(centres, [[0, 128, 128, 128, 255, 255, 255], [0, 128, 128, 128, 255, 128, 128]])


@pytest.mark.parametrize("stage", list(Stage))
def test_previews_show_what_the_stage_predicts_and_leave_the_model_alone(model, make_batch, tmp_path, stage):
    set_modes(model, stage)
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    futures = {Stage.WARMUP: 1, Stage.COTRAIN: 12, Stage.FINETUNE: 0}[stage]
    modalities = ("video", "action") if stage is Stage.WARMUP else ("paired",)
    batches = [make_batch(m, size=6, futures=futures) for m in modalities]
    written = write_previews(tmp_path, 40, model, stage, batches)

    names = [path.name for path in written]
    # Only warmup learns codes, so only there is their use shown.
    shown_names = ["frames.jpg"] * (futures > 0) + ["codes.jpg"] * (stage is Stage.WARMUP) + ["actions.json"]
    assert names == [f"step-00000040-{name}" for name in shown_names]
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    if futures:
        grid = simplejpeg.decode_jpeg(written[0].read_bytes())
        shown = max(int(batch.future_mask[:4].sum(dim=1).max()) for batch in batches if batch.future is not None)
        assert grid.shape == (4 + 4 * 36, 4 + (1 + 2 * shown) * 36, 3)


def test_action_previews_are_readable_json_in_the_batchs_units(model, make_batch, tmp_path):
    batch = make_batch("paired", size=2, futures=0)
    batch.action[~batch.action_mask] = torch.nan
    (path,) = write_previews(tmp_path, 1, model, Stage.FINETUNE, [batch])
    shown = json.loads(path.read_text())

    assert shown["dims"] == list(ACTION_NAMES)
    assert np.shape(shown["true"]) == np.shape(shown["predicted"]) == np.shape(shown["mask"]) == (2, 12, 14)
    mask = np.array(shown["mask"])
    np.testing.assert_allclose(np.array(shown["true"])[mask], batch.action[batch.action_mask].numpy(), atol=1e-5)
    assert np.isfinite(shown["true"]).all()
