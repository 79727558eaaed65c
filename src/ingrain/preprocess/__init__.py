"""What callers send, made into what the graphs take."""
