"""What a request can ask for: one module a task, with its checks, its model inputs and its results."""
