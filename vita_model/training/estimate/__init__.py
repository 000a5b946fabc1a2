"""Estimates before a run starts: parameters, memory and FLOP, counted without allocating tensors."""
