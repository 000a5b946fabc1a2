"""Released weights: DINOv2, PaliGemma and its tokenizer, from a folder or the Hugging Face hub."""
