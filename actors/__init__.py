"""Who owns and decides what: number actors, service coordinators and the host that carries them."""
