"""Many trainings compared by one rule: sweeps over a space of settings, and studies of methods over seeds."""
