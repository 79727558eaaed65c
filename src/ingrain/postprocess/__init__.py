"""What the graphs answer, made into what the caller asked for."""
