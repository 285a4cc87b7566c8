"""What all actors of a host share."""
