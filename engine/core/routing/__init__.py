"""Where an event goes: decisions, reports of legs, and the compiled cache of plain questions."""
