"""Cuts, plans and the verb `drop`: `parse_cut` (text) -> `resolve` (for one policy) -> `drop` (smaller policy)."""
