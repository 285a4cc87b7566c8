"""Maskline: masked calls and messages; the rules, the wire formats, the doors and the command line."""
