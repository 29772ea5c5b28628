"""Films of hands: persons and sides followed over time, motion without jitter, animated files."""
