"""What a manifest comes to with the shards at hand, stage by stage: `vita-data mix`."""
