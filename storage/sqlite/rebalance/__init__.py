"""Moving a stopped cluster's data to another number of hosts: copy, compare, switch."""

from storage.sqlite.rebalance.kept import Kept, drop, kept_files
from storage.sqlite.rebalance.move import Move, Survey, TableMoved, rebalance, survey

__all__ = ["Kept", "Move", "Survey", "TableMoved", "drop", "kept_files", "rebalance", "survey"]
