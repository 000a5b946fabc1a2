"""Simple scenes drawn with NumPy and OpenCV: what toy cameras and the simulated table see."""
