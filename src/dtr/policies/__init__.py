"""The policies: models whose blocks can be gated, scored and dropped."""
