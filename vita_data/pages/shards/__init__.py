"""Built shards on a page: card, dropped episodes, lengths, texts, statistics, clips."""
