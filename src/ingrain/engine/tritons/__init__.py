"""Several Tritons as one engine: their addresses, the choice among them, and the graphs that each should have."""
