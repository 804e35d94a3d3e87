"""Measurements that anyone can repeat: whole processes of ours against other ways, in turn."""
