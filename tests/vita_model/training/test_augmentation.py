"""Random changes of training images: alike for all frames of a sample, equal on any number of ranks, off by default."""

import json
from dataclasses import replace

import pytest
import torch

from vita_data.errors import RequestError
from vita_data.types import Modality, Stage
from vita_model.distributed import Ranks
from vita_model.training.augmentation import augmented
from vita_model.training.batches import samples
from vita_model.training.checkpoint.run_folder import latest
from vita_model.training.recipes.augmentation import AugmentationConfig
from vita_model.training.recipes.override import override
from vita_model.training.train import train

ALL = AugmentationConfig(crop=0.2, brightness=0.3, contrast=0.3, saturation=0.3)


def changed(batch, config, *, seed=0, ranks=None):
    return augmented(batch, config, generator=torch.Generator().manual_seed(seed), ranks=ranks or Ranks())


def plain(colour, *, size=3, views=2, futures=1):
    """Images of one colour each."""
    return torch.tensor(colour, dtype=torch.uint8).expand(size, views + futures, 256, 256, 3)


def painted(make_batch, images):
    batch = make_batch(Modality.PAIRED, size=len(images), views=2, futures=1)
    return replace(batch, images=images[:, :2].contiguous(), future=images[:, 2:].contiguous())


def test_nothing_changes_or_is_drawn_by_default(make_batch):
    generator, batch = torch.Generator(), make_batch(Modality.PAIRED, futures=2)
    before = generator.get_state()
    assert augmented(batch, AugmentationConfig(), generator=generator, ranks=Ranks()) is batch
    assert torch.equal(generator.get_state(), before)


def test_batches_without_images_stay_as_they_are(make_batch):
    batch = make_batch(Modality.ACTION)
    assert changed(batch, ALL) is batch


def test_frames_that_are_equal_stay_equal_and_samples_differ(make_batch):
    batch = make_batch(Modality.PAIRED, size=4, futures=2)
    still = replace(batch, future=batch.images[:, :1].expand_as(batch.future).contiguous())
    found = changed(still, ALL)

    assert torch.equal(found.future, found.images[:, :1].expand_as(found.future))
    assert found.images.dtype == torch.uint8
    assert found.images.shape == batch.images.shape
    same = changed(replace(batch, images=batch.images[:1].expand_as(batch.images).contiguous()), ALL).images
    assert not torch.equal(same[0], same[1])
    assert torch.equal(found.action, batch.action)


def test_a_crop_enlarges_a_part_and_invents_nothing(make_batch):
    ramp = torch.arange(256, dtype=torch.uint8)[None, :, None].expand(256, 256, 3)  # The value is the column.
    found = changed(painted(make_batch, ramp.expand(3, 3, 256, 256, 3)), AugmentationConfig(crop=0.5)).images[:, 0]
    row = found[:, 128, :, 0].int()

    widths = row[:, -1] - row[:, 0]
    assert bool((widths <= 255).all() and (widths >= 126).all())
    assert len(set(widths.tolist())) > 1
    assert bool((row.diff(dim=1) >= 0).all()), "the order of columns is kept: no mirroring"
    assert torch.equal(found, found[:, :1].expand_as(found))


@pytest.mark.parametrize(
    ("config", "colour", "kept"),
    [
        (AugmentationConfig(brightness=0.4), (100, 50, 20), lambda pixel: pixel[0] / pixel[1]),
        (AugmentationConfig(contrast=0.4), (100, 100, 100), lambda pixel: pixel[0] / 50),
        (AugmentationConfig(saturation=0.4), (90, 90, 90), lambda pixel: pixel[0] / 45),
    ],
    ids=["brightness keeps the ratio of channels", "contrast keeps the mean", "saturation keeps grey"],
)
def test_a_colour_change_keeps_what_its_name_says(make_batch, config, colour, kept):
    for pixel in changed(painted(make_batch, plain(colour)), config).images[:, 0, 0, 0].float():
        assert float(kept(pixel)) == pytest.approx(2.0, abs=0.05)


def test_brightness_and_saturation_move_what_they_should(make_batch):
    batch = painted(make_batch, plain((100, 50, 20)))
    bright, pale = (changed(batch, config).images[:, 0, 0, 0].float() for config in
                    (AugmentationConfig(brightness=0.4), AugmentationConfig(saturation=0.4)))  # fmt: skip
    assert bright[:, 0].unique().numel() == 3
    assert (pale[:, 0] - pale[:, 2]).unique().numel() == 3


def test_ranks_change_their_samples_as_one_process_does(make_batch):
    batch = make_batch(Modality.PAIRED, size=4, futures=2)
    whole = changed(batch, ALL)
    for rank in range(2):
        part = slice(2 * rank, 2 * rank + 2)
        own = changed(samples(batch, part), ALL, ranks=Ranks(rank=rank, world_size=2))
        assert torch.equal(own.images, whole.images[part])
        assert torch.equal(own.future, whole.future[part])


def test_a_resumed_run_draws_the_changes_that_an_unbroken_one_does(make_recipe, make_stream, tmp_path):
    def losses(name, *steps):
        for number, num_steps in enumerate(steps):
            recipe = make_recipe(Stage.WARMUP, num_steps=num_steps, augmentation=ALL)
            train(recipe, make_stream(Stage.WARMUP), tmp_path / name, statistics={}, report=lambda line: None,
                  resume=number > 0)  # fmt: skip
        assert latest(tmp_path / name).name == "step-00000006"
        return [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]

    assert losses("whole", 6) == losses("broken", 3, 6)


@pytest.mark.parametrize("value", ["1.0", "-0.1", "1e9"])
def test_impossible_changes_are_refused(make_recipe, value):
    with pytest.raises(RequestError, match=r"crop must be a number in \[0, 1\)"):
        override(make_recipe(Stage.WARMUP), [f"augmentation.crop={value}"])
