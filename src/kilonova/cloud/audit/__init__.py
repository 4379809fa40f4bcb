"""What `doctor` checks, across all nouns and the nodes' real world."""
