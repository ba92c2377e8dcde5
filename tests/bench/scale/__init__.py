"""How cost grows with images, folds, views and processes: `python -m tests.bench.scale`. See __main__.py."""
