"""The one way of a request: checked, prepared, queued, computed, finished."""
