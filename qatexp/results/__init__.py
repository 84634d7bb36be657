"""What records say about trials: which files compete, which figures compare, and their names."""
