"""Benchmarks: every figure beside a peer measured in the same run; see README.md for what they mean."""
