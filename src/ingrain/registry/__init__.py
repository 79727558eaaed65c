"""The models that should be loaded, and the code that loads, replaces, repairs, tunes and unloads them.

Concurrency:

- One event loop changes the table (``slots.py``), so each step between two ``await`` is atomic. A removed slot never
  returns; after an ``await``, code checks that its slot is still in the table.
- A slot has one task at a time: a load (``loader.py``) or a tuning (``tunings.py``). Unloading cancels the task.
- A model's lock (``model_locks.py``) works across processes. Exports, loads, unloads, tunings and deletions hold it.
- Only one export (``maker.py``) and one tuning run at a time.
- Only one check of the list of models (``reconciler.py``) runs at a time.
- Workers follow the table through snapshots (``snapshot.py``, ``follower.py``); ``settle`` waits until all have one.
"""
