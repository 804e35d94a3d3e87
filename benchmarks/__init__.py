"""Measurements behind docs/performance.md: each is one command that anyone can run."""
