"""The domain: a folder a noun, the flows where nouns meet, the scheduler, the audit."""
