"""Answers HTTP: the server, the planes, and the dialects that clients speak."""
