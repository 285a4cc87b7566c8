"""Where the records of a host are kept: one folder a database."""
