"""What a request can ask for: one module a task, with its checks, its model inputs and its result.

A task implements ``pipeline.task.Task``; its route stands in ``server/dialects/native``. See docs/extending.md.
"""
