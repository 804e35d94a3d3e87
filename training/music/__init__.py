"""Songs with true stems to learn from, richer than those of the demo; a seed decides a song."""
