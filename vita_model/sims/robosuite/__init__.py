"""robosuite tasks: scripted experts, recorded demonstrations, evaluation."""
