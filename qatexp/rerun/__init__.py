"""A finished run computed again from its resolved configuration, and compared figure by figure."""
