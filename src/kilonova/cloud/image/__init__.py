"""Images: records, their bytes, and the check that bytes are what their record says."""
