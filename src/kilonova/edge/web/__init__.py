"""What people and probes ask of the listener itself: what is here, whether it lives, its metrics."""
