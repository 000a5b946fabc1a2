"""A small PaliGemma in the real format: written by transformers, with a tokenizer made by tokenizers."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration
from transformers.utils import logging

from vita_model.network.configs import BackboneConfig

SENTENCES = [
    "grasp the red block", "lift the lid", "move block 1", "place it left", "rotate the knob", "open the drawer",
    "close the drawer", "end subtask",
]  # fmt: skip


def write_tokenizer(path: Path, *, num_tokens: int = 64, sentences: list[str] = SENTENCES) -> Tokenizer:
    """Pieces of words with spaces as in SentencePiece, the special tokens where Gemma has them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    tokenizer.decoder = decoders.Replace("\u2581", " ")
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=num_tokens, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(sentences, trainer)
    tokenizer.add_tokens([AddedToken("\n", normalized=False)])
    tokenizer.save(str(path))
    return tokenizer


def write_paligemma(
    folder: Path, config: BackboneConfig, *, shard_size: str = "5GB", seed: int = 1
) -> PaliGemmaForConditionalGeneration:
    """Weights of the shapes that a backbone's config says, each with a value of its own."""
    torch.manual_seed(seed)
    vision, language = config.vision, config.language
    model = PaliGemmaForConditionalGeneration(
        PaliGemmaConfig(
            vision_config={
                "model_type": "siglip_vision_model", "hidden_size": vision.width, "intermediate_size": vision.ffn_width,
                "num_hidden_layers": vision.num_layers, "num_attention_heads": vision.num_heads,
                "image_size": config.image_size, "patch_size": config.patch_size, "vision_use_head": False,
            },
            text_config={
                "model_type": "gemma", "hidden_size": language.width, "intermediate_size": language.ffn_width,
                "num_hidden_layers": language.num_layers, "num_attention_heads": language.num_heads,
                "num_key_value_heads": 1, "head_dim": config.head_width, "vocab_size": config.vocabulary,
            },
            projection_dim=language.width, hidden_size=language.width, vocab_size=config.vocabulary,
            image_token_index=config.vocabulary - 1,
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    logging.disable_progress_bar()
    model.save_pretrained(folder, max_shard_size=shard_size)
    logging.enable_progress_bar()
    write_tokenizer(folder / "tokenizer.json")
    return model
