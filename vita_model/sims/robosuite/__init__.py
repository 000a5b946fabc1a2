"""The tasks Lift and Stack of robosuite 1.4.0."""
