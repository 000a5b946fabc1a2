"""The public LeRobot conversions of sources whose own form is another one: which they are, told by their content.

A raw tree and a source's facts come in; episodes with the meaning of the source's own release go out.
"""
