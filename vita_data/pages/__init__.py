"""Pages for people: what lies in built shards and what a training run made of it, each one HTML file without scripts.

Reads shards, cards, manifests and the files of a run; changes none of them and knows nothing of the model.
"""
