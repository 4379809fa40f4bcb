"""What happens to servers, as Nova's versioned notifications tell it."""
