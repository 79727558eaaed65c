"""A model and the engine that has it loaded in, how that engine runs it fastest out."""
