"""What happened to servers, in order: written with the change itself, kept for a day, read by whoever watches."""
