"""Frozen TensorFlow graphs, and what runs them."""
