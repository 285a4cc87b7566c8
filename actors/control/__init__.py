"""The control plane: coordinators, registers, and how bindings reach the numbers."""
