"""Data of the embedded suites: BDDL files, frozen initial states, one scene. Written by `dtr suites`, read by `dtr.sim.suites`."""
