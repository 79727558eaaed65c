"""The tasks of requests. Each task checks its items, prepares model inputs and makes the result.

A task implements ``pipeline.task.Task``; its routes are in ``server/dialects``. See docs/extending.md.
"""
