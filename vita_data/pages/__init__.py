"""HTML pages for people: the content of built shards and the results of training runs, one file each, without scripts.

Reads shards, cards, manifests and the files of a run; changes none of them, and is independent of the model.
"""
