"""Technical parts that know no cloud word; each could be a library of its own."""
