"""Which models should be loaded, and what loads, replaces, repairs, tunes and unloads them.

What runs at the same time, and what keeps it apart:

- One event loop changes the table (``table.py``), so that each step between two ``await`` is atomic. A slot that left
  the table never returns: after an ``await``, code looks whether its slot is still there.
- A slot has one task at a time, a load (``loader.py``) or a tuning (``tunings.py``). Unloading cancels it.
- A model's lock (``model_locks.py``) holds over all processes. Exports, loads, unloads, tunings and deletions take it.
- Exports take turns (``maker.py``), and so do tunings.
- Looks at the list of models (``reconciler.py``) take turns.
- Workers follow the table by copies of it (``view.py``, ``follower.py``); ``settle`` waits until all of them have one.
"""
