"""Schema changes in order; each is additive, so that the version before can go on reading (see docs/checklists)."""
