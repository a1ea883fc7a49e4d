"""Data of the embedded suites: BDDL files, frozen initial states and one MuJoCo scene. Written by `dtr suites`, read by `dtr.sim.suites`."""
