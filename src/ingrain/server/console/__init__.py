"""The console: a page for people, served by the model plane at ``/ui``, which uses the API as any client does."""
