"""What the slot table decides, and how it is done to the KV caches and recurrent states of target and draft."""
