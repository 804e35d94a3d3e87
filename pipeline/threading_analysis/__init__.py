"""What threads and processes bring on this machine: CPU use beside speed-up, which it is not."""
