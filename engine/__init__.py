"""Maskline: masked calls and messages; the rules, channels, interfaces and the command line."""
