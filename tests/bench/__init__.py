"""Podium beside its peers: one command, `python -m tests.bench`, and one table. See __main__.py."""
