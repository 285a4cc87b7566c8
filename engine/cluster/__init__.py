"""The cluster's side of the composition root: what a host, a supervisor and a driver are made of. Never imports ray."""
