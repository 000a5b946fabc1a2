"""Makes one built source of several, such as two releases or the parts that two machines built.

The folders of built sources come in; a folder with the same shards, linked where possible, one card and one set of
statistics goes out.
"""
