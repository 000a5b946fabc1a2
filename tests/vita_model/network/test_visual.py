import torch

from vita_model.network.features import FrozenFeatures
from vita_model.network.visual import VisualDecoder, VisualEncoder


def test_frozen_features_are_the_same_in_every_run_and_leave_the_global_seed_alone(config, make_batch):
    images = make_batch("video").images[:, 0]
    torch.manual_seed(1)
    first = FrozenFeatures(config.visual)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))
    torch.manual_seed(2)
    second = FrozenFeatures(config.visual)

    assert torch.equal(first(images), second(images))
    assert first(images).shape == (4, 16, 64)


def test_frozen_features_stay_in_eval_mode_and_without_gradient(config):
    features = FrozenFeatures(config.visual).train()
    assert not features.dino.training
    assert not any(p.requires_grad for p in features.parameters())


def test_encoder_gives_one_latent_per_pair(config):
    encoder = VisualEncoder(config.visual_encoder, feature_width=64, grid=4, latent_width=32)
    assert encoder(torch.randn(3, 16, 64), torch.randn(3, 16, 64)).shape == (3, 1, 32)


def test_decoder_ignores_latents_it_may_not_see(config):
    decoder = VisualDecoder(config.visual_decoder, features=config.visual, latent_width=64).eval()
    features, latents = torch.randn(2, 16, 64), torch.randn(2, 4, 64)
    mask = torch.tensor([[True, False, False, False], [True, True, False, False]])
    changed = torch.where(mask[..., None], latents, 7.0)
    index = torch.tensor([1, 2])
    images = decoder(features, latents, mask, index).images

    assert images.shape == (2, 3, 32, 32)
    assert torch.equal(images, decoder(features, changed, mask, index).images)
    assert not torch.equal(images, decoder(features, latents + 1, mask, index).images)


def test_one_latent_in_warmup_and_the_first_of_twelve_in_cotrain_decode_alike(config):
    decoder = VisualDecoder(config.visual_decoder, features=config.visual, latent_width=64).eval()
    features, latents = torch.randn(1, 16, 64), torch.randn(1, 12, 64)
    first = torch.arange(12)[None] < 1
    alone = decoder(features, latents[:, :1], first[:, :1], torch.tensor([1])).images

    torch.testing.assert_close(alone, decoder(features, latents, first, torch.tensor([1])).images)
