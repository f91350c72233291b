"""What connections may hold, one by one and together, and by when each has to go on."""
