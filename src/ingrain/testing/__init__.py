"""Fakes for the tests of programs that use Ingrain."""
