"""Planning and measuring: how many numbers a marketplace needs, and workloads to try a server with."""
