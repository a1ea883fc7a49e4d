"""The seven categories of LIBERO-Plus, graded and seeded, over any suite in LIBERO's format: `variant` names, `disturbed` plays."""
