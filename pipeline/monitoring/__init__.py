"""What a run costs the machine while it works: processors, memory, GPUs; into the run log and out again."""
