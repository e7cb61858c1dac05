"""Item text to item vectors, offline, and the representations folder they are kept in. Knows nothing of training."""
