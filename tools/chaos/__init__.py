"""Breaks a running server in every known way, and checks each answer that its clients get meanwhile."""
