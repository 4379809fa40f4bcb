"""The small guest `kilonova-guest`: a 20 to 30 MB cloud image made from Debian packages.

`build.build` makes it, `program.HOST_PACKAGES` says what the building machine needs, `files/` holds the guest's own
scripts. Nothing here needs root, loop devices or a compiler.
"""
