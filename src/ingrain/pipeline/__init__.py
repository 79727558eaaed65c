"""Runs tasks: checks, prepares, queues and finishes them."""
