"""What a guest may read about itself: the OpenStack and EC2 metadata trees, and the config drive. Pure."""
