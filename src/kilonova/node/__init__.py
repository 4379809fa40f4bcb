"""The agent on every host: makes desired state so, and reports what it observes. Knows no database."""
