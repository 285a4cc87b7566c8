"""Plans and workloads for measuring how much a server carries."""
