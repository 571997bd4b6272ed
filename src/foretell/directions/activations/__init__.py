"""Hidden states at the answers of contrast pairs."""
