"""Programs that run in environments of their own and are driven over dtr.wire: their packages never meet ours."""
