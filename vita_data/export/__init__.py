"""Writes a built source in the forms of other programs: a LeRobot dataset, or Parquet with one row a clip.

The folder of a built source comes in; a folder that appears when it is complete goes out, with the licence on its card.
"""
