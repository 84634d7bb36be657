"""What happens around the many runs of a sweep."""
