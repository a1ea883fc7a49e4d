"""A policy behind a socket, for robots and foreign simulators: docs/serving.md."""
