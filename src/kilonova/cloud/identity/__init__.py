"""Who there is, what they may do where, and the tokens that prove it."""
