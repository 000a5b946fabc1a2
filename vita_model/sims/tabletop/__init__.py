"""A small simulated table that needs no simulator: a kinematic arm lifts coloured cubes; NumPy moves, OpenCV draws."""
